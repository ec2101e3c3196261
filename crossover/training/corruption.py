"""Which tokens are masked: exact counts, stratified over the batch.

Exact count: draw k uniformly from 1..L, mask exactly k positions, weight L / k. That is unbiased for the any-order
bound, needs no epsilon, and never yields an empty mask (LLaDA, arXiv 2502.09992, eq. 6; Ou et al., arXiv 2406.03736).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator


def stratified_counts(batch: int, length: int, offset: float) -> NDArray[np.int64]:
    """Mask counts k in 1..length, one per slot of the global batch, evenly spread.

    Slot j gets 1 + floor(length x frac(offset + j / batch)); with offset uniform on [0, 1) each k is uniform on
    1..length.

    Args:
        batch: examples in the *global* batch, so that the strata do not depend on the number of processes.
        length: tokens per example.
        offset: in [0, 1), the same for the whole batch.
    """
    fraction = (offset + np.arange(batch) / batch) % 1.0
    return 1 + np.minimum((fraction * length).astype(np.int64), length - 1)


def mask_exactly(counts_B: NDArray[np.int64], noise_BL: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask, in each row, the `count` positions with the smallest noise. Shape (B, L)."""
    rank_BL = noise_BL.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return rank_BL < counts_B[:, None]


def training_masks(
    *, seed: int, step: int, epochs_B: NDArray[np.int64], examples_B: NDArray[np.int64], length: int
) -> NDArray[np.bool_]:
    """Masks (B, L) of one global batch; the counts depend on the step, the positions on (epoch, example)."""
    offset = float(generator(seed, Stream.MASK_COUNT, epoch=step).random())
    counts_B = stratified_counts(len(examples_B), length, offset)
    noise_BL = np.stack(
        [
            generator(seed, Stream.CORRUPTION, epoch=int(epoch), example=int(example)).random(length)
            for epoch, example in zip(epochs_B, examples_B, strict=True)
        ]
    )
    return mask_exactly(counts_B, noise_BL)
