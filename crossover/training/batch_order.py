"""Which examples are in which batch: a shuffle of each epoch, one endless stream, cut into batches.

The order depends on (seed, epoch) only, so the arms of a pair see the same batches, and a resumed run goes on with the
very batch it would have had. A batch may straddle two epochs; nothing is dropped, and an epoch shows each example once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator


class Batch(NamedTuple):
    """The slots of one global batch, each of shape (B,)."""

    epochs_B: NDArray[np.int64]
    examples_B: NDArray[np.int64]


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    return generator(seed, Stream.ORDER, epoch=epoch).permutation(examples)


def batch_at(seed: int, step: int, *, batch_size: int, examples: int) -> Batch:
    """The batch of a step, counted from 0."""
    place_B = step * batch_size + np.arange(batch_size, dtype=np.int64)
    epochs_B = place_B // examples
    examples_B = np.empty_like(place_B)
    for epoch in np.unique(epochs_B):
        here = epochs_B == epoch
        examples_B[here] = _epoch_order(seed, int(epoch), examples)[place_B[here] % examples]
    return Batch(epochs_B, examples_B)
