"""Examples cut in two: which and where, and that each part is trained as a sequence of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossover.model.transformer import Transformer
from crossover.study.arms import Arm, Recipe, resolve_arm
from crossover.study.study_config import StudyConfig
from crossover.training.batch_order import Batch, batch_at, cut_places
from crossover.training.token_masking import training_masks
from crossover.training.training_objectives import Microbatch, TrainingObjective, sum_of_losses
from tests.conftest import tiny_model
from tests.crossover.training.test_distributed import trace, weights, with_training

LENGTH, MASK, BOS = 12, 258, 256


def cut_batch(share_of_length: float) -> Batch:
    """Three examples, the second of which is cut."""
    return Batch(np.zeros(3, dtype=np.int64), np.arange(3), np.array([-1.0, share_of_length, -1.0]))


def place_in(batch: Batch, *, block_length: int = 0) -> int:
    places = cut_places(batch, slice(0, 3), length=LENGTH, block_length=block_length)
    assert places is not None
    assert places.tolist()[::2] == [0, 0]
    return int(places[1])


def test_the_share_is_cut_at_uniform_places() -> None:
    batch = batch_at(3, 0, batch_size=200_000, examples=200_000, random_lengths=0.05)
    places = cut_places(batch, slice(0, 200_000), length=LENGTH)
    assert places is not None
    cut = places[places > 0]
    assert len(cut) / 200_000 == pytest.approx(0.05, abs=0.002)
    assert set(cut) == set(range(1, LENGTH))
    frequency = np.bincount(cut, minlength=LENGTH)[1:] / len(cut)
    np.testing.assert_allclose(frequency, 1 / (LENGTH - 1), atol=0.012)


@given(st.integers(0, 2**40), st.integers(1, 40))
def test_the_cuts_of_an_example_depend_on_the_epoch_not_on_the_batches(seed: int, batch_size: int) -> None:
    def cuts(size: int) -> dict[tuple[int, int], float]:
        found = {}
        for step in range(-(-80 // size)):
            batch = batch_at(seed, step, batch_size=size, examples=40, random_lengths=0.5)
            for slot, (epoch, example) in enumerate(zip(batch.epochs_B, batch.examples_B, strict=True)):
                found[int(epoch), int(example)] = -1.0 if batch.cuts_B is None else float(batch.cuts_B[slot])
        return {key: value for key, value in found.items() if key[0] < 2}

    one = cuts(40)
    assert cuts(batch_size) == one
    assert [one[0, e] for e in range(40)] != [one[1, e] for e in range(40)]


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 20))
def test_block_diffusion_is_cut_between_blocks(share: float, block_length: int) -> None:
    if block_length >= LENGTH:
        assert cut_places(cut_batch(share), slice(0, 3), length=LENGTH, block_length=block_length) is None
    else:
        place = place_in(cut_batch(share), block_length=block_length)
        assert 0 < place < LENGTH
        assert place % block_length == 0


def test_each_part_has_an_exact_count_of_its_own_and_other_rows_keep_theirs() -> None:
    counts = []
    for step in range(300):
        batch = cut_batch(0.4)
        place = place_in(batch)
        arguments = {"seed": 5, "step": step, "batch": batch, "slots": slice(0, 3), "length": LENGTH}
        masks, drawn = training_masks(**arguments, cuts_n=np.array([0, place, 0]))  # type: ignore[arg-type]  # by name
        whole, _ = training_masks(**arguments)  # type: ignore[arg-type]  # by name
        assert np.array_equal(masks[::2], whole[::2])
        for part in (slice(0, place), slice(place, LENGTH)):
            assert drawn[1, part].sum() == pytest.approx(masks[1, part].size, rel=1e-5)
            assert len(set(drawn[1, part][masks[1, part]])) == 1
        counts.append(int(masks[1, :place].sum()))
    assert set(counts) == set(range(1, place + 1))
    np.testing.assert_allclose(np.bincount(counts)[1:] / 300, 1 / place, atol=0.08)


@pytest.mark.parametrize(
    "arm",
    [
        resolve_arm("ar", None),
        resolve_arm("ar-masked-input", None),
        resolve_arm("dlm", None),
        resolve_arm("dlm-bernoulli", None),
        resolve_arm("bd", Recipe(block_length=4)),
        resolve_arm("dlm-fixed-order", None),
    ],
    ids=lambda arm: arm.name,
)
@pytest.mark.parametrize("chunk", [0, 259 * 5])
def test_the_loss_of_a_cut_example_is_that_of_its_parts_alone(arm: Arm, chunk: int) -> None:
    """The parts are given to the model as examples of their own, with the masks that they had."""
    config = tiny_model(causal=True, vocab=259, length=LENGTH).config
    model = Transformer(config, causal=arm.causal, mask_id=MASK, block_length=arm.block_length)
    model.initialise(torch.Generator().manual_seed(0))
    tokens = np.random.default_rng(0).integers(0, 256, (3, LENGTH))
    batch = cut_batch(0.4)
    place = place_in(batch, block_length=arm.block_length)
    objective = TrainingObjective(arm, LENGTH, 0)
    drawn = objective.microbatch(0, batch, slice(0, 3), tokens, sparse=chunk > 0, device=torch.device("cpu"))
    parts = []
    for row, columns in ((0, slice(0, LENGTH)), (1, slice(0, place)), (1, slice(place, LENGTH)), (2, slice(0, LENGTH))):
        clean, noisy = drawn.inputs_nT[row : row + 1, :LENGTH], drawn.inputs_nT[row : row + 1, -LENGTH:]
        inputs = torch.cat((clean[:, columns], noisy[:, columns]), 1) if arm.block_length else noisy[:, columns]
        assert not arm.causal or inputs[0, 0] == BOS
        scored = None if drawn.weights_nL is None else drawn.weights_nL[row : row + 1, columns]
        alone = Microbatch(inputs, drawn.targets_nL[row : row + 1, columns], scored, None, None, None)
        parts.append(sum_of_losses(model, alone, arm, MASK, chunk=0)[0])
    together = sum_of_losses(model, drawn, arm, MASK, chunk=chunk)[0]
    torch.testing.assert_close(together, torch.stack(parts).sum(), rtol=1e-5, atol=0)
    uncut = sum_of_losses(model, drawn._replace(documents_nT=None), arm, MASK, chunk=chunk)[0]
    assert abs(float((uncut - together).detach())) > 1e-4  # the parts do not see each other


@pytest.mark.parametrize("arm", ["ar-masked-input", "dlm", "dlm-fixed-order"])
def test_the_same_bits_on_two_processes(
    arm: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study = with_training(tiny_study, microbatch_size=2, random_lengths=0.3)
    alone = trace(study, arm, examples, tmp_path / "1", 1)
    assert trace(study, arm, examples, tmp_path / "2", 2) == alone
    for name, value in weights(tmp_path / "2").items():
        np.testing.assert_array_equal(value, weights(tmp_path / "1")[name])
    assert trace(with_training(study, random_lengths=0.0), arm, examples, tmp_path / "whole", 1) != alone
