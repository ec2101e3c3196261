"""Order of the training examples: each epoch is a permutation, and their concatenation is cut into batches.

The order depends on (seed, epoch) only, so the arms of a pair see the same batches, and a resumed run continues with
the same batch. A batch may span two epochs; no example is dropped, and an epoch has each example once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator


class Batch(NamedTuple):
    """The examples of one global batch, one per slot."""

    epochs_B: NDArray[np.int64]
    """Epoch of each slot, from 0."""
    examples_B: NDArray[np.int64]
    """Index of each slot's example in the training examples."""


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    return generator(seed, Stream.ORDER, epoch=epoch).permutation(examples)


def batch_at(seed: int, step: int, *, batch_size: int, examples: int) -> Batch:
    """The global batch of an optimizer step.

    Args:
        seed: the run's seed.
        step: optimizer step, from 0.
        batch_size: examples per global batch, B.
        examples: number of training examples.
    """
    index_B = step * batch_size + np.arange(batch_size, dtype=np.int64)
    epochs_B = index_B // examples
    examples_B = np.empty_like(index_B)
    for epoch in np.unique(epochs_B):
        in_epoch_B = epochs_B == epoch
        examples_B[in_epoch_B] = _epoch_order(seed, int(epoch), examples)[index_B[in_epoch_B] % examples]
    return Batch(epochs_B, examples_B)
