"""Masks: exact counts, stratified, keyed by (seed, epoch, example), and unbiased."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.training.batch_order import batch_at
from crossover.training.token_masking import block_lengths, mask_blocks, mask_exactly, stratified_counts, training_masks


@given(st.integers(1, 64), st.integers(1, 64), st.floats(0, 1, exclude_max=True))
def test_counts_are_legal_and_evenly_spread(batch: int, length: int, offset: float) -> None:
    counts = stratified_counts(batch, length, offset)
    assert counts.shape == (batch,)
    assert counts.min() >= 1
    assert counts.max() <= length
    covered, _ = np.histogram((counts - 0.5) / length, bins=np.linspace(0, 1, 5))
    if batch % 4 == 0 and length % 4 == 0:
        assert np.all(np.abs(covered - batch / 4) <= 1)


def test_each_slot_has_a_uniform_count_over_offsets() -> None:
    offsets = (np.arange(10_000) + 0.5) / 10_000
    counts = np.stack([stratified_counts(6, 8, float(offset)) for offset in offsets])
    for slot in range(6):
        frequency = np.bincount(counts[:, slot], minlength=9)[1:] / len(offsets)
        np.testing.assert_allclose(frequency, 1 / 8, atol=2e-4)


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(2, 40))
def test_masks_hold_exactly_their_counts(seed: int, step: int, length: int) -> None:
    batch = batch_at(seed, step, batch_size=8, examples=20)
    masks, weights = training_masks(seed=seed, step=step, batch=batch, slots=slice(0, 8), length=length)
    np.testing.assert_allclose(weights.sum(axis=1), length, rtol=1e-5)
    assert masks.shape == (8, length)
    assert masks.sum(axis=1).min() >= 1
    assert len(set(masks.sum(axis=1).tolist())) >= min(4, length // 2)


def test_positions_depend_on_epoch_and_example_not_on_the_slot() -> None:
    counts = np.array([3, 3])
    noise = np.stack([np.arange(8.0), np.arange(8.0)[::-1]])
    assert mask_exactly(counts, noise).tolist() == [[True] * 3 + [False] * 5, [False] * 5 + [True] * 3]


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32))
def test_each_block_is_masked_as_it_would_be_alone(length: int, block_length: int, seed: int) -> None:
    rng, lengths = np.random.default_rng(seed), block_lengths(length, block_length)
    offsets, noise = rng.random(5), rng.random((5, length))
    masks, weights = mask_blocks(offsets, noise, lengths)
    for block, (end, size) in enumerate(zip(lengths.cumsum(), lengths, strict=True)):
        fraction = (offsets + block / len(lengths)) % 1.0
        counts = 1 + np.minimum((fraction * size).astype(np.int64), size - 1)
        alone = mask_exactly(counts, noise[:, end - size : end])
        assert np.array_equal(masks[:, end - size : end], alone)
        assert np.array_equal(weights[:, end - size : end], (alone * (size / counts[:, None])).astype(np.float32))


@given(st.integers(1, 50), st.integers(1, 20))
def test_an_epoch_shows_each_example_once(examples: int, batch: int) -> None:
    seen: list[tuple[int, int]] = []
    for step in range(-(-3 * examples // batch)):
        got = batch_at(7, step, batch_size=batch, examples=examples)
        seen += list(zip(got.epochs_B.tolist(), got.examples_B.tolist(), strict=True))
    for epoch in range(3):
        assert sorted(e for p, e in seen if p == epoch)[:examples] == list(range(examples))


def test_order_is_reshuffled_and_seeded() -> None:
    orders = {
        tuple(batch_at(seed, step, batch_size=30, examples=30).examples_B.tolist())
        for seed in (0, 1)
        for step in (0, 1)
    }
    assert len(orders) == 4


@pytest.mark.parametrize("block_length", [0, 16])
@pytest.mark.parametrize("size", [8, 12, 24, 32, 48, 96, 128, 256, 512])
def test_parts_of_a_batch_have_nearly_equal_loads(size: int, block_length: int) -> None:
    """Ranks and microbatches are contiguous parts: their masked shares differ by about one example's."""
    length, all_slots = 64, slice(0, size)
    for step in range(8):
        batch = batch_at(0, step, batch_size=size, examples=1000)
        masked_BL, _ = training_masks(
            seed=0, step=step, batch=batch, slots=all_slots, length=length, block_length=block_length
        )
        for parts in (2, 3, 4, 6, 8, 12, 16):
            examples, rest = divmod(size, parts)
            if rest:
                continue
            loads = masked_BL.reshape(parts, examples * length).mean(axis=1)
            most = 1 if examples & (examples - 1) == 0 else 2
            assert np.ptp(loads) <= most / examples + 1 / (block_length or length)


def test_strata_are_those_of_the_batch_in_another_order() -> None:
    for batch in range(1, 65):
        counts = np.sort(stratified_counts(batch, 128, 0.3))
        expected = 1 + np.floor((0.3 + np.arange(batch) / batch) % 1 * 128)
        assert counts.tolist() == np.sort(expected).tolist()


def test_the_parts_of_cut_examples_have_nearly_equal_loads() -> None:
    batch = batch_at(0, 0, batch_size=64, examples=1000, random_lengths=1.0)
    masked, _ = training_masks(
        seed=0, step=0, batch=batch, slots=slice(0, 64), length=64, cuts_n=np.full(64, 16, dtype=np.int64)
    )
    for part, size in ((masked[:, :16], 16), (masked[:, 16:], 48)):
        assert np.ptp(part.reshape(8, 8 * size).mean(axis=1)) <= 1 / 8 + 1 / size
