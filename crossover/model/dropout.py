"""Dropout whose pattern is a function of what it is for: (example's key, site, position, feature).

torch's dropout draws from one stream, so its pattern depends on the batch's cut and the number of processes. This one
is a counter-based hash of integers, the same on any topology and after any restart.

Shapes: B batch, L length, D features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Dropout(NamedTuple):
    """A rate, and one key for each example."""

    rate: float
    keys_B: Tensor
    """Shape (B,), int32, random and different for each (seed, epoch, example)."""

    def __call__(self, x_BLD: Tensor, site: int) -> Tensor:
        """Zero each feature with probability `rate` and scale the rest up; `site` tells places in the model apart."""
        length, features = x_BLD.shape[1:]
        index_LD = torch.arange(length * features, dtype=torch.int32, device=x_BLD.device).view(length, features)
        bits_BLD = _mix(_mix(index_LD ^ _mix(self.keys_B[:, None, None] + site * 7919)))
        keep = (bits_BLD & 0x7FFFFFFF) >= int(self.rate * 2**31)
        return torch.where(keep, x_BLD / (1.0 - self.rate), 0.0)


def _mix(x: Tensor) -> Tensor:
    """A bijection of 32-bit integers with full avalanche (Wellons' lowbias32); int32 products wrap around."""
    x = x ^ _shift(x, 16)
    x = x * 0x7FEB352D
    x = x ^ _shift(x, 15)
    x = x * -0x7B935975  # 0x846ca68b as a signed number
    return x ^ _shift(x, 16)


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical shift right; torch's own keeps the sign."""
    return (x >> by) & ((1 << (32 - by)) - 1)
