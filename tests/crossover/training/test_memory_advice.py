"""Out of memory: the error names the first setting that fits by the plan, with the figures."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from crossover.errors import StudyError
from crossover.model.model_presets import preset
from crossover.study.arms import ARMS
from crossover.study.study_parts import TrainingConfig
from crossover.training import memory_advice
from crossover.training.batch_order import batch_at
from crossover.training.distributed import World
from crossover.training.memory_estimate import step_memory
from crossover.training.train_engine import TrainEngine

SHAPE = preset("nano", vocab_size=259, max_length=64)
GIB = 2**30


def raised(
    monkeypatch: pytest.MonkeyPatch, memory: int, *, world: World | None = None, **changes: object
) -> StudyError:
    """What a step says on a device with so many bytes, whose forward pass finds no memory."""

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.99 GiB")

    engine = TrainEngine(
        TrainingConfig.model_validate({"batch_size": 32} | changes),
        SHAPE,
        ARMS["dlm"],
        seed=0,
        length=64,
        world=World(),
    )
    engine.world = world or engine.world
    monkeypatch.setattr(engine, "backward", full)
    monkeypatch.setattr(memory_advice, "_memory", lambda device: memory)
    examples = np.zeros((64, 64), dtype=np.uint16)
    with pytest.raises(StudyError, match="out of memory") as caught:
        engine.gradients(0, batch_at(0, 0, batch_size=32, examples=64), examples)
    assert caught.value.code == "training.out-of-memory"
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    return caught.value


def planned(world: World | None = None, **changes: object) -> int:
    config = TrainingConfig.model_validate({"batch_size": 32} | changes)
    return step_memory(config, SHAPE, ARMS["dlm"], length=64, world=world or World()).peak


def test_the_largest_microbatch_that_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {size: planned(microbatch_size=size) for size in (32, 16, 8)}
    assert peaks[8] < peaks[16] < peaks[32]
    error = raised(monkeypatch, int(peaks[8] / memory_advice.USABLE) + 1)
    assert error.field == "training.microbatch_size"
    assert "set it to 8, for which the plan is" in error.remedy
    figures = [float(text) * GIB for text in re.findall(r"([\d.e-]+) GiB", f"{error.problem} {error.remedy}")]
    expected = [peaks[32], peaks[8] / memory_advice.USABLE, peaks[8]]
    assert figures == pytest.approx(expected, rel=0.01)


def test_recomputing_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    one: dict[str, Any] = {"microbatch_size": 1}
    room = planned(**one, activation_checkpointing=True)
    assert room < planned(**one) * 0.99
    error = raised(monkeypatch, int(room / memory_advice.USABLE) + 1, **one)
    assert (error.field, error.remedy.split(",")[0]) == ("training.activation_checkpointing", "set it to true")


def test_several_processes_can_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    world, alone = World(0, 32), {"activation_checkpointing": True}
    room = planned(world, data_parallel="shard", **alone)
    assert room < planned(world, **alone)
    error = raised(monkeypatch, int(room / memory_advice.USABLE) + 1, world=world, **alone)
    assert (error.field, error.remedy.split(",")[0]) == ("training.data_parallel", "set it to shard")
    assert "with 1 examples in one forward pass" in error.problem


def test_several_processes_can_divide_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, world = preset("mini-moe", vocab_size=259, max_length=64), World(0, 4)
    config = TrainingConfig(batch_size=4, microbatch_size=1, activation_checkpointing=True, data_parallel="shard")
    divided = config.model_copy(update={"expert_parallel": 4})
    room, before = (step_memory(one, shape, ARMS["dlm"], length=64, world=world).peak for one in (divided, config))
    assert room < before
    monkeypatch.setattr(memory_advice, "_memory", lambda device: int(room / memory_advice.USABLE) + 1)
    with (
        pytest.raises(StudyError) as caught,
        memory_advice.explained(config, shape, ARMS["dlm"], length=64, world=world),
    ):
        raise torch.OutOfMemoryError
    assert (caught.value.field, caught.value.remedy.split(",")[0]) == ("training.expert_parallel", "set it to 4")


def test_masks_of_documents_count(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainingConfig(batch_size=32, random_lengths=0)  # which need masks too
    masked = step_memory(config, SHAPE, ARMS["dlm"], length=64, world=World(), masked=True).peak
    assert masked > 1.01 * planned(random_lengths=0)
    monkeypatch.setattr(memory_advice, "_memory", lambda device: 1000)
    engine = TrainEngine(config, SHAPE, ARMS["dlm"], seed=0, length=64, world=World(), document_end=1)
    with pytest.raises(StudyError) as caught, engine._explained():
        raise torch.OutOfMemoryError
    (needs,) = (float(text) * GIB for text in re.findall(r"needs ([\d.e-]+) GiB", caught.value.problem))
    assert needs == pytest.approx(masked, rel=0.005)


def test_sharded_microbatches_hold_no_partial_sums() -> None:
    """Their gradients are added in place; those of whole copies wait for the others of the tree."""
    world, one = World(0, 2), {"microbatch_size": 1}
    few, many = (planned(world, data_parallel="shard", batch_size=batch, **one) for batch in (2, 32))
    assert many == few
    assert planned(world, batch_size=32, **one) > planned(world, batch_size=2, **one)


def test_where_nothing_fits_more_memory_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    error = raised(monkeypatch, 1000)
    assert error.field == "training.data_parallel"
    assert "more processes" in error.remedy


def test_another_error_stays_what_it_is() -> None:
    with (
        pytest.raises(RuntimeError, match="a bug"),
        memory_advice.explained(TrainingConfig(), SHAPE, ARMS["ar"], length=64, world=World()),
    ):
        raise RuntimeError("a bug")
