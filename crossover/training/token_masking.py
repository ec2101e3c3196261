"""Masks of diffusion training. By default exact counts, stratified over the batch.

Exact count: draw k uniformly from 1..L, mask exactly k positions, weight L / k. That is unbiased for the any-order
bound, needs no epsilon, and never yields an empty mask (LLaDA, arXiv 2502.09992, eq. 6; Ou et al., arXiv 2406.03736).
Bernoulli: draw t uniformly from (0, 1], mask each position with probability t, weight 1 / t; unbiased too, and noisier.
Blocks: exact counts within each block (BD3-LM, arXiv 2503.09573), weight block length / k.

Shapes: B examples of the global batch, n of them in one microbatch, L length, b blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator
from crossover.study.arms import MaskSampling
from crossover.training.batch_order import Batch

Masks = tuple[NDArray[np.bool_], NDArray[np.float32]]
"""True where a token is masked (n, L), and the weight of each token's NLL (n, L), 0 where it is not masked."""


def stratum_order(batch: int) -> NDArray[np.int64]:
    """Stratum of each slot of the global batch, a permutation of 0..batch-1. Shape (B,).

    It is the rank of the slot's number with its bits reversed (van der Corput), so that the strata of every contiguous
    part of the batch, such as those of a process or a microbatch, are spread over all.
    """
    slots_B = np.arange(batch)
    reversed_B = np.zeros_like(slots_B)
    for bit in range(batch.bit_length()):
        reversed_B = 2 * reversed_B + (slots_B >> bit & 1)
    return reversed_B.argsort().argsort()


def stratified_counts(batch: int, length: int, offset: float) -> NDArray[np.int64]:
    """Mask counts k in 1..length, one per example of the global batch, evenly spread.

    An example of stratum s (`stratum_order`) gets 1 + floor(length x frac(offset + s / batch)); with offset uniform on
    [0, 1) each k is uniform on 1..length.

    Args:
        batch: size of the *global* batch, so that the strata do not depend on the number of processes.
        length: tokens per example.
        offset: in [0, 1), the same for all examples of the batch.
    """
    return _counts((offset + stratum_order(batch) / batch) % 1.0, np.array(length))


def _counts(fraction: NDArray[np.float64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return 1 + np.minimum((fraction * lengths).astype(np.int64), lengths - 1)


def mask_exactly(counts_B: NDArray[np.int64], noise_BL: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask the `count` positions of each row with the smallest noise. Shape (B, L); B may be several axes."""
    rank_BL = noise_BL.argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    return rank_BL < counts_B[..., None]


def block_lengths(length: int, block_length: int) -> NDArray[np.int64]:
    """Number of tokens of each block; the last block may be shorter. Shape (b,)."""
    starts = np.arange(0, length, block_length)
    return np.minimum(block_length, length - starts)


def mask_blocks(offset_n: NDArray[np.float64], noise_nL: NDArray[np.float64], lengths: NDArray[np.int64]) -> Masks:
    """Exact counts within each block, spread evenly over a row's blocks from the row's offset.

    Args:
        offset_n: in [0, 1), one per row.
        noise_nL: uniform noise on [0, 1).
        lengths: tokens of each block, L in total.
    """
    fraction_nb = (offset_n[:, None] + np.arange(len(lengths)) / len(lengths)) % 1.0
    counts_nb = _counts(fraction_nb, lengths)
    block_L = np.repeat(np.arange(len(lengths)), lengths)
    offset_L = np.arange(len(block_L)) - (lengths.cumsum() - lengths)[block_L]
    padded_nbs = np.full((*counts_nb.shape, lengths.max()), np.inf)  # s: the longest block; padding is never masked
    padded_nbs[:, block_L, offset_L] = noise_nL
    masked_nL = mask_exactly(counts_nb, padded_nbs)[:, block_L, offset_L]
    return masked_nL, (masked_nL * (lengths / counts_nb)[:, block_L]).astype(np.float32)


def training_masks(
    *,
    seed: int,
    step: int,
    batch: Batch,
    slots: slice,
    length: int,
    mask_sampling: MaskSampling = "exact-count",
    block_length: int = 0,
    cuts_n: NDArray[np.int64] | None = None,
) -> Masks:
    """Masks and weights of a microbatch; counts depend on (step, slot), positions on (epoch, example).

    The parts of a cut example have exact counts and weights of their own. Blocks have them anyway, and plain 1/t does
    not depend on the length.

    Args:
        seed: the run's seed.
        step: optimizer step, from 0.
        batch: the global batch.
        slots: slots of the global batch that form the microbatch.
        length: tokens per example.
        mask_sampling: exact counts, or Bernoulli.
        block_length: of block diffusion; 0 otherwise.
        cuts_n: from `batch_order.cut_places`.
    """
    noise_nL = example_noise(seed, Stream.CORRUPTION, batch, slots, length)
    slots_B = len(batch.examples_B)
    draws = generator(seed, Stream.MASK_COUNT, epoch=step)
    if mask_sampling == "bernoulli":
        rate_n1 = (1.0 - draws.random(slots_B))[slots, None]
        masked_nL = noise_nL < rate_n1
        return masked_nL, (masked_nL / rate_n1).astype(np.float32)
    offset = float(draws.random())
    if block_length:
        lengths = block_lengths(length, block_length)
        offset_B = (offset + stratum_order(slots_B) / (slots_B * len(lengths))) % 1.0
        return mask_blocks(offset_B[slots], noise_nL, lengths)
    counts_n = stratified_counts(slots_B, length, offset)[slots]
    masked_nL = mask_exactly(counts_n, noise_nL)
    weights_nL = (masked_nL * (length / counts_n[:, None])).astype(np.float32)
    if cuts_n is None:
        return masked_nL, weights_nL
    for row in np.flatnonzero(cuts_n):
        one = slice(row, row + 1)
        own_offset_1 = (offset + stratum_order(slots_B)[slots][one] / slots_B) % 1.0
        parts = np.array([cuts_n[row], length - cuts_n[row]])
        masked_nL[one], weights_nL[one] = mask_blocks(own_offset_1, noise_nL[one], parts)
    return masked_nL, weights_nL


def example_noise(seed: int, stream: Stream, batch: Batch, slots: slice, length: int) -> NDArray[np.float64]:
    """Uniform noise on [0, 1) per (epoch, example), shape (n, L): the same on any number of processes."""
    pairs = zip(batch.epochs_B[slots], batch.examples_B[slots], strict=True)
    return np.stack(
        [generator(seed, stream, epoch=int(epoch), example=int(example)).random(length) for epoch, example in pairs]
    )
