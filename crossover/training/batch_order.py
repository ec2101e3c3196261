"""Order of the training examples: each epoch is a permutation, and their concatenation is cut into batches.

The order depends on (seed, epoch) only, so the arms of a pair see the same batches, and a resumed run continues with
the same batch. A batch may span two epochs; no example is dropped, and an epoch has each example once.

Random lengths (LLaDA, arXiv 2502.09992): a share of the examples is cut in two at a uniform place, and each part is a
sequence of its own. Which, and where, depends on (seed, epoch, example) only.
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
    cuts_B: NDArray[np.float64] | None = None
    """Where each slot's example is cut in two, uniform in [0, 1); negative where it is not, None where none is."""


@lru_cache(maxsize=4)
def _epoch_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    return generator(seed, Stream.ORDER, epoch=epoch).permutation(examples)


@lru_cache(maxsize=4)
def _epoch_cuts(seed: int, epoch: int, examples: int, share: float) -> NDArray[np.float64]:
    drawn = generator(seed, Stream.RANDOM_LENGTHS, epoch=epoch).random(examples)
    return np.where(drawn < share, drawn / share, -1.0)


def batch_at(seed: int, step: int, *, batch_size: int, examples: int, random_lengths: float = 0.0) -> Batch:
    """The global batch of an optimizer step.

    Args:
        seed: the run's seed.
        step: optimizer step, from 0.
        batch_size: examples per global batch, B.
        examples: number of training examples.
        random_lengths: share of the examples that are cut in two.
    """
    index_B = step * batch_size + np.arange(batch_size, dtype=np.int64)
    epochs_B = index_B // examples
    examples_B, cuts_B = np.empty_like(index_B), np.full(batch_size, -1.0)
    for epoch in np.unique(epochs_B):
        in_epoch_B = epochs_B == epoch
        drawn = _epoch_order(seed, int(epoch), examples)[index_B[in_epoch_B] % examples]
        examples_B[in_epoch_B] = drawn
        if random_lengths:
            cuts_B[in_epoch_B] = _epoch_cuts(seed, int(epoch), examples, random_lengths)[drawn]
    return Batch(epochs_B, examples_B, cuts_B if (cuts_B >= 0).any() else None)


def cut_places(batch: Batch, slots: slice, *, length: int, block_length: int = 0) -> NDArray[np.int64] | None:
    """First token of the second sequence of each cut example, 0 where it is whole. Shape (n,); None if all are.

    Args:
        batch: the global batch.
        slots: slots of the global batch that form the microbatch, n of them.
        length: tokens per example, at least 1.
        block_length: cut between blocks of this many tokens only; 0 cuts between any two tokens.
    """
    if batch.cuts_B is None:
        return None
    size = block_length or 1
    places = -(-length // size) - 1
    if not places:
        return None
    cuts_n = batch.cuts_B[slots]
    places_n = np.where(cuts_n < 0, 0, size * (1 + (cuts_n * places).astype(np.int64)))
    return places_n if places_n.any() else None
