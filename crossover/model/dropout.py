"""Counter-based dropout: whether an element is dropped is a hash of (example's key, site, position, feature).

torch's dropout draws from one stream, so its pattern depends on the microbatches and the number of processes. This one
is the same on any topology and after any restart.

Shapes: B batch, L length, D features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_SITE_STRIDE = 7919
"""Distance of the keys of neighbouring sites; a prime."""


class Dropout(NamedTuple):
    """A dropout rate, and a key for each example."""

    rate: float
    keys_B: Tensor
    """Random int32 of each (seed, epoch, example), shape (B,)."""
    attention: bool = True
    """Whether the output of attention is dropped too, or only that of the feed-forward."""

    def shifted(self, sites: int) -> Dropout:
        """The dropout whose site 0 is this one's site `sites`.

        A layer that is given its own, and numbers its sites from 0, has no number of its own in it: compiled layers
        then share one graph.
        """
        return self._replace(keys_B=self.keys_B + sites * _SITE_STRIDE)

    def __call__(self, x_BLD: Tensor, site: int) -> Tensor:
        """Zero each feature with probability `rate` and scale the others by 1 / (1 - rate).

        Args:
            x_BLD: activations.
            site: index of the dropout layer in the model; layers have different patterns.
        """
        length, features = x_BLD.shape[1:]
        index_LD = torch.arange(length * features, dtype=torch.int32, device=x_BLD.device).view(length, features)
        bits_BLD = _mix(_mix(index_LD ^ _mix(self.keys_B[:, None, None] + site * _SITE_STRIDE)))
        keep = (bits_BLD & 0x7FFFFFFF) >= int(self.rate * 2**31)
        return torch.where(keep, x_BLD / (1.0 - self.rate), 0.0)


def _mix(x: Tensor) -> Tensor:
    """Hash of 32-bit integers (Wellons' lowbias32, a bijection with full avalanche); int32 products wrap around."""
    x = x ^ _shift(x, 16)
    x = x * 0x7FEB352D
    x = x ^ _shift(x, 15)
    x = x * -0x7B935975  # 0x846ca68b as a signed number
    return x ^ _shift(x, 16)


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical right shift; torch's is arithmetic."""
    return (x >> by) & ((1 << (32 - by)) - 1)
