"""`microbatch_size: auto`: the largest microbatch whose plan fits the device's free memory."""

from pathlib import Path

import numpy as np
import pytest

from crossover.commands.plan_command import _print_runs
from crossover.errors import StudyError
from crossover.model.model_presets import preset
from crossover.settings import Settings
from crossover.study.arms import ARMS
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.training import memory_advice
from crossover.training.distributed import World
from crossover.training.memory_estimate import step_memory
from crossover.training.planner import plan_study
from crossover.training.recorder import NoRecorder
from crossover.training.run_spec import RunSpec
from crossover.training.train_engine import split_slots
from crossover.training.trainer import Trainer
from tests.crossover.training.test_distributed import with_training

SHAPE = preset("nano", vocab_size=259, max_length=64)


def planned(size: int, batch: int = 32, world: World | None = None, parallel: str = "replicate") -> int:
    config = TrainingConfig.model_validate({"batch_size": batch, "microbatch_size": size, "data_parallel": parallel})
    return step_memory(config, SHAPE, ARMS["dlm"], length=64, world=world or World()).peak


def chosen(free: int, batch: int = 32, world: World | None = None) -> int | str | None:
    config = TrainingConfig(batch_size=batch, microbatch_size="auto")
    sized = memory_advice.with_microbatch_size(config, SHAPE, ARMS["dlm"], length=64, world=world or World(), free=free)
    return sized.microbatch_size


def room(size: int, batch: int = 32) -> int:
    return int(planned(size, batch) / memory_advice.USABLE) + 1


def test_left_out_is_auto_on_a_gpu_and_the_whole_share_on_a_cpu() -> None:
    assert TrainingConfig().microbatch_size is None
    assert TrainingConfig(device="cuda").microbatch_size == "auto"
    assert TrainingConfig(device="cuda", microbatch_size=None).microbatch_size is None
    for given in (TrainingConfig(device="cuda"), TrainingConfig(microbatch_size="auto"), TrainingConfig()):
        assert TrainingConfig.model_validate_json(given.model_dump_json()) == given


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "large", "[1]"])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(StudyError, match=r"training\.microbatch_size: is neither a whole number from 1 nor auto: "):
        parse_study(f"training: {{microbatch_size: {value}}}")


@pytest.mark.parametrize("size", [32, 16, 4, 1])
def test_the_largest_that_fits_is_chosen(size: int) -> None:
    assert chosen(room(size)) == size


def test_a_share_that_is_no_power_of_two_is_halved_while_it_can_be() -> None:
    assert [chosen(room(size, batch=24), batch=24) for size in (24, 12, 6, 3)] == [24, 12, 6, 3]
    assert chosen(room(2, batch=24), batch=24) == 1


def test_where_nothing_fits_one_is_tried() -> None:
    assert chosen(1000) == 1


def test_processes_share_a_batch_and_a_node_shares_a_sharded_model() -> None:
    assert chosen(2**50, world=World(size=4)) == 8
    unsized = memory_advice.with_microbatch_size(
        TrainingConfig(microbatch_size="auto"), SHAPE, ARMS["ar"], length=64, world=World(size=5), free=2**50
    )
    with pytest.raises(StudyError, match=r"training\.batch_size: a batch of 32 does not divide among 5 processes"):
        split_slots(unsized, World(size=5))
    near, far = World(size=8), World(size=8, nodes=4)
    assert planned(1, world=near, parallel="shard") < planned(1, world=far, parallel="shard")
    assert planned(1, world=World(size=8, nodes=8), parallel="shard") == planned(1, world=near, parallel="shard")


def test_a_run_notes_what_fits_a_device_of_pretended_memory(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []

    class Notes(NoRecorder):
        def note(self, text: str) -> None:
            notes.append(text)

    study = with_training(tiny_study, microbatch_size="auto")
    spec = RunSpec(study=study, cell=study.cells[1], arm="dlm", seed=0)
    digests = set()
    for memory, size in ((2**50, study.training.batch_size), (1000, 1)):
        monkeypatch.setattr(memory_advice, "free_memory", lambda device, memory=memory: memory)
        trainer = Trainer(spec, examples, tmp_path / str(memory), Notes())
        trainer.run()
        assert notes.pop() == f"microbatch_size auto: {size} examples in a forward pass"
        digests.add(trainer.spec.digest)
    assert len(digests) == 1


def test_a_plan_says_which_microbatch_its_memory_is_of(
    tiny_study: StudyConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = with_training(tiny_study, device="cuda", microbatch_size="auto", precision="bf16")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cost = plan_study(study, Settings(peak_tflops=1.0))
    assert {run.microbatch_size for run in cost.runs} == {1}
    _print_runs(study, cost)
    assert "microbatch_size auto: planned with 1 examples in one forward pass, for the device is not here" in (
        capsys.readouterr().out
    )


def test_nodes_that_do_not_have_as_many_processes_each_are_refused(tiny_study: StudyConfig) -> None:
    with pytest.raises(StudyError, match="--nodes: 4 processes do not divide among 3 nodes"):
        plan_study(tiny_study, Settings(), processes=4, nodes=3)
