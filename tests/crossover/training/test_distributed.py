"""One run on 1, 2 and 4 processes, with any accumulation, sharded or not: the same losses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from crossover.errors import StudyError
from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.training.distributed import World
from crossover.training.run_schedule import run_schedule
from crossover.training.run_spec import resume_step
from crossover.training.train_engine import split_slots
from tests.crossover.training import child
from tests.processes import run_ranks


def with_training(study: StudyConfig, **changes: object) -> StudyConfig:
    training = TrainingConfig.model_validate(study.training.model_dump() | changes)
    return study.model_copy(update={"training": training})


def trace(
    study: StudyConfig, arm: str, examples: np.ndarray, folder: Path, processes: int, *, torchrun: bool = False
) -> dict[int, float]:
    """Losses of a run on that many processes: this one alone, forked ranks, or those that torchrun starts."""
    folder.mkdir(exist_ok=True)
    (folder / "study.json").write_text(study.model_dump_json())
    np.save(folder / "examples.npy", examples)
    if torchrun:
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, "-m", *launch, "-m", child.__name__, str(folder), arm]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-3000:]
    elif processes > 1:
        run_ranks(processes, child.train, folder, arm)
    else:
        child.train(folder, arm)
    return dict(json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines())


def weights(folder: Path) -> dict[str, np.ndarray]:
    newest = max((folder / "run" / "checkpoints").glob("step-*"))
    return {name: tensor.numpy() for name, tensor in load_file(newest / "model.safetensors").items()}


@pytest.mark.parametrize("arm", ["ar-dropout", "dlm"])
def test_the_same_bits_on_one_two_and_four_processes(
    arm: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study = with_training(tiny_study, microbatch_size=2)
    alone = trace(study, arm, examples, tmp_path / "1", 1)
    assert len(alone) == study.total_steps(study.cells[-1])
    for processes in (2, 4):
        launched = arm == "dlm" and processes == 2  # once as a user does it
        assert trace(study, arm, examples, tmp_path / str(processes), processes, torchrun=launched) == alone
        for name, value in weights(tmp_path / str(processes)).items():
            np.testing.assert_array_equal(value, weights(tmp_path / "1")[name])


@pytest.mark.parametrize("arm", ["ar", "bd"])
def test_accumulation_and_sharding_change_rounding_only(
    arm: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    full = trace(tiny_study, arm, examples, tmp_path / "whole", 1)
    for size in (1, 4):
        pieces = trace(with_training(tiny_study, microbatch_size=size), arm, examples, tmp_path / str(size), 1)
        np.testing.assert_allclose(list(pieces.values()), list(full.values()), rtol=1e-6)
    sharded = trace(with_training(tiny_study, data_parallel="shard"), arm, examples, tmp_path / "sharded", 2)
    np.testing.assert_allclose(list(sharded.values()), list(full.values()), rtol=1e-6)


@pytest.mark.parametrize("arm", ["ar", "dlm"])
def test_bf16_has_one_recipe_sharded_or_not(
    arm: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    """The first loss but for its sum; later ones as far as sums of bf16 gradients in another order lead."""
    study = with_training(tiny_study, precision="bf16")
    alone = trace(study, arm, examples, tmp_path / "alone", 1)
    sharded = trace(with_training(study, data_parallel="shard"), arm, examples, tmp_path / "sharded", 2)
    assert sharded[1] == pytest.approx(alone[1], rel=1e-6)
    np.testing.assert_allclose(list(sharded.values()), list(alone.values()), rtol=8e-4)


def test_a_sharded_model_compiles(tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path) -> None:
    study = with_training(tiny_study, data_parallel="shard")
    plain = trace(study, "dlm", examples, tmp_path / "plain", 2)
    compiled = trace(with_training(study, compile=True), "dlm", examples, tmp_path / "compiled", 2)
    np.testing.assert_allclose(list(compiled.values()), list(plain.values()), rtol=1e-5)
    assert compiled != plain  # compiled code rounds in its own way


def test_a_run_goes_on_with_another_number_of_processes(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    study = with_training(tiny_study, microbatch_size=2)
    full = trace(study, "dlm", examples, tmp_path / "whole", 1)
    trace(study, "dlm", examples, tmp_path / "cut", 2)
    checkpoints = sorted((tmp_path / "cut" / "run" / "checkpoints").glob("step-*"))
    assert len(checkpoints) == len(study.evaluation_steps(study.cells[-1]))
    last = max(full)
    resume = tmp_path / "cut" / "run" / "resume"
    assert [folder.name for folder in resume.iterdir()] == [f"step-{last:08d}"]
    sharded = with_training(study, data_parallel="shard")
    trace(sharded, "dlm", examples, tmp_path / "sharded", 2)
    for name, value in weights(tmp_path / "sharded").items():
        np.testing.assert_allclose(value, weights(tmp_path / "whole")[name], atol=2e-5)


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_sigterm_of_any_process_stops_all_at_one_step(
    schedule: str, tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    """On the trunk that step is saved, in a decay branch its start; the rest of the run has the same bits."""
    study = with_training(tiny_study, microbatch_size=2, schedule=schedule)
    full = trace(study, "dlm", examples, tmp_path / "full", 1)
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / "study.json").write_text(study.model_dump_json())
    np.save(folder / "examples.npy", examples)
    run_ranks(2, child.train_until_a_signal, folder, "dlm", 1, 30)
    expected = 30 if schedule == "constant" else run_schedule(study.training, (32,)).branch_starts[32]
    assert resume_step(folder / "run") == expected
    assert {**trace(study, "dlm", examples, folder, 2), **full} == full
    for name, value in weights(folder).items():
        np.testing.assert_array_equal(value, weights(tmp_path / "full")[name])


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(StudyError, match="batch of 8 does not divide among 3 processes"):
        split_slots(TrainingConfig(batch_size=8), World(0, 3))
    with pytest.raises(StudyError, match=r"training.microbatch_size: a batch of 8 .* microbatches of 4"):
        split_slots(TrainingConfig(batch_size=8, microbatch_size=4), World(0, 4))
    assert split_slots(TrainingConfig(batch_size=8, microbatch_size=2), World(1, 2)) == [slice(4, 6), slice(6, 8)]


def test_missing_cuda_is_an_error_of_the_user() -> None:
    with pytest.raises(StudyError, match=r"training.device: is cuda, and this machine has 0 CUDA devices"):
        World().device("cuda")
