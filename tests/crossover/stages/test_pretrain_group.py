"""A group of runs as a pipeline's step trains it: processes that are killed start again; no torch for nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossover.files import digest_of_file
from crossover.registry import Registry
from crossover.settings import get_settings
from crossover.stages.prepare_stage import leave_dataset, plan_groups, prepare_stage
from crossover.stages.pretrain_group import pretrain_group
from crossover.stages.pretrain_stage import pretrain_stage
from crossover.stages.stage_manifests import DatasetRef, Group, RunsRef
from crossover.stages.study_context import StudyContext, open_study
from crossover.study.study_config import StudyConfig

GROUP = Group(cell="u1024-pico", arm="dlm", seeds=(0, 1))
KILL = """
import os, pathlib, signal, sys, threading, time
def watch(left):
    while True:
        saved = list(pathlib.Path(os.environ["WATCHED"]).glob("runs/*/*/*/*/checkpoints/*/manifest.json"))
        kills = pathlib.Path(os.environ["KILLS"])
        if len(saved) > len(kills.read_text()):
            kills.write_text(kills.read_text() + "x")
            if len(kills.read_text()) <= int(os.environ["MOST_KILLS"]):
                if os.environ["ENDING"] == "exit":
                    os._exit(1)
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002)
launches = "crossover.training.run_processes" in sys.orig_argv
if "crossover.cli" in sys.orig_argv and not launches and os.environ.get("RANK", "1") == "1":
    threading.Thread(target=watch, args=(1,), daemon=True).start()
"""
"""A sitecustomize module: a training process ends as soon as one more checkpoint is saved."""


@pytest.fixture
def killer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts the kills."""
    (tmp_path / "killer").mkdir()
    (tmp_path / "killer" / "sitecustomize.py").write_text(KILL)
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join((str(tmp_path / "killer"), root, os.environ.get("PYTHONPATH", "")))
    )
    monkeypatch.setenv("WATCHED", str(tmp_path / "ws"))
    monkeypatch.setenv("KILLS", str(tmp_path / "kills"))
    (tmp_path / "kills").write_text("")
    return tmp_path / "kills"


def prepared(context: StudyContext) -> DatasetRef:
    reference = prepare_stage(context)
    leave_dataset(context, reference)
    return reference


def with_restarts(
    monkeypatch: pytest.MonkeyPatch, restarts: int, kills: int = 0, *, processes: int = 1, ending: str = "kill"
) -> None:
    monkeypatch.setenv("CROSSOVER_RESTARTS", str(restarts))
    monkeypatch.setenv("CROSSOVER_PROCESSES", str(processes))
    monkeypatch.setenv("ENDING", ending)
    monkeypatch.setenv("MOST_KILLS", str(kills))
    get_settings.cache_clear()


def weights(runs: RunsRef) -> list[list[str]]:
    files = [[Path(checkpoint.uri) / "model.safetensors" for checkpoint in run.checkpoints] for run in runs.runs]
    return [[digest_of_file(file) for file in of_run] for of_run in files]


def test_a_killed_training_process_starts_again_and_gives_the_same_bits(
    tiny_study: StudyConfig, tmp_path: Path, killer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_restarts(monkeypatch, restarts=3, kills=2)
    with open_study(tiny_study, str(tmp_path / "ws")) as context:
        survived = pretrain_group(context, prepared(context), GROUP)
    with Registry.open(get_settings().registry) as registry:
        attempts = registry.query("SELECT status, attempts FROM v_runs ORDER BY seed").rows
    assert len(killer.read_text()) >= 2
    assert [status for status, _ in attempts] == ["done", "done"]
    assert sum(int(str(count)) for _, count in attempts) == 4
    with open_study(tiny_study, str(tmp_path / "undisturbed"), f"sqlite:///{tmp_path}/other.sqlite") as context:
        undisturbed = pretrain_stage(context, prepare_stage(context), GROUP)
    assert weights(survived) == weights(undisturbed)


def test_a_process_that_is_killed_too_often_ends_the_step_and_a_retry_goes_on(
    tiny_study: StudyConfig,
    tmp_path: Path,
    killer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with_restarts(monkeypatch, restarts=1, kills=2)
    with open_study(tiny_study, str(tmp_path / "ws")) as context:
        dataset = prepared(context)
        with pytest.raises(SystemExit) as caught:
            pretrain_group(context, dataset, GROUP)
        assert caught.value.code == 137
        lines = capfd.readouterr().err.splitlines()
        assert lines[-1] == (
            "u1024-pico/dlm/seed-0: the training process ended: killed by SIGKILL, as when memory runs out; "
            "no restart is left"
        )
        assert len(pretrain_group(context, dataset, GROUP).runs) == 2


@pytest.mark.parametrize(("processes", "ending"), [(1, "exit"), (2, "exit"), (2, "kill")])
def test_a_process_that_ends_by_a_fault_starts_again(
    processes: int,
    ending: str,
    tiny_study: StudyConfig,
    tmp_path: Path,
    killer: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As by an exception of a lost device, alone or as one rank of two."""
    with_restarts(monkeypatch, restarts=2, kills=1, processes=processes, ending=ending)
    with open_study(tiny_study, str(tmp_path / "ws")) as context:
        runs = pretrain_group(context, prepared(context), GROUP.model_copy(update={"seeds": (0,)}))
    assert len(runs.runs) == 1
    assert killer.read_text()
    cause = "exit code 1" if ending == "exit" else "killed by SIGKILL, as when memory runs out"
    said = f"u1024-pico/dlm/seed-0: the training process ended: {cause}; starting it again from its last resume point"
    assert said in capfd.readouterr().err.splitlines()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_with_a_message_is_not_repeated(
    processes: int,
    tiny_study: StudyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The run's folder cannot be made, because a file has its name."""
    with_restarts(monkeypatch, restarts=3, processes=processes)
    with open_study(tiny_study, str(tmp_path / "ws")) as context:
        dataset = prepared(context)
        (tmp_path / "ws" / "runs").mkdir()
        (tmp_path / "ws" / "runs" / GROUP.cell).write_text("")
        with pytest.raises(SystemExit) as caught:
            pretrain_group(context, dataset, GROUP)
    assert caught.value.code == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("crossover: ")]
    assert sum(GROUP.cell in line for line in errors) == 1


def test_a_run_that_diverged_is_not_repeated(
    tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with_restarts(monkeypatch, restarts=3)
    training = tiny_study.training.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0})
    with open_study(tiny_study.model_copy(update={"training": training}), str(tmp_path / "ws")) as context:
        dataset = prepared(context)
        with pytest.raises(SystemExit) as caught:
            pretrain_group(context, dataset, GROUP)
    assert caught.value.code == 2
    assert capfd.readouterr().err.count("lower training.learning_rate") == 1


FINISHED = """
import json, sys
from crossover.stages.evaluate_stage import evaluate_stage
from crossover.stages.pretrain_group import pretrain_group
from crossover.stages.stage_manifests import DatasetRef, Group
from crossover.stages.study_context import open_study
study, workspace, dataset, group = sys.argv[1:]
with open_study(study, workspace) as context:
    reference = DatasetRef.parse(json.loads(dataset), "dataset")
    evaluate_stage(context, reference, pretrain_group(context, reference, Group.model_validate_json(group)))
print("torch" in sys.modules)
"""


def test_a_finished_group_costs_no_torch(tiny_study: StudyConfig, tmp_path: Path) -> None:
    """Neither to find that its runs are trained nor that they are evaluated, also with restarts."""
    from crossover.stages.evaluate_stage import evaluate_stage

    with open_study(tiny_study, str(tmp_path / "ws")) as context:
        dataset = prepare_stage(context)
        evaluate_stage(context, dataset, pretrain_stage(context, dataset, GROUP))
    arguments = (tiny_study.model_dump_json(), str(tmp_path / "ws"), dataset.model_dump_json(), GROUP.model_dump_json())
    result = subprocess.run(
        [sys.executable, "-c", FINISHED, *arguments],
        env=os.environ | {"CROSSOVER_RESTARTS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "False"


def test_finished_runs_are_one_group_of_a_cell_and_an_arm(tiny_study: StudyConfig, tmp_path: Path) -> None:
    study = tiny_study.model_copy(update={"seeds": (0, 1, 2)})
    with open_study(study, str(tmp_path / "ws")) as context:
        every = plan_groups(context, 1)
        done = [run for group in every for run in group.run_ids if run.arm == "dlm" or run.seed == 1]
        groups = plan_groups(context, 1, done=done)
    assert {(group.cell, group.arm, group.seeds) for group in groups} == {
        *((cell.name, "dlm", (0, 1, 2)) for cell in study.cells),
        *((cell.name, "ar", (1,)) for cell in study.cells),
        *((cell.name, "ar", (seed,)) for cell in study.cells for seed in (0, 2)),
    }
    assert json.loads(json.dumps([group.item for group in groups]))


def test_several_processes_train_a_run_with_the_same_bits(
    tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a pod with two GPUs; here two processes on the CPU."""
    group = GROUP.model_copy(update={"seeds": (0,)})
    training = tiny_study.training.model_copy(update={"microbatch_size": 4})
    study = tiny_study.model_copy(update={"training": training})
    monkeypatch.setenv("CROSSOVER_PROCESSES", "2")
    get_settings.cache_clear()
    with open_study(study, str(tmp_path / "ws")) as context:
        together = pretrain_group(context, prepared(context), group)
    with open_study(study, str(tmp_path / "alone"), f"sqlite:///{tmp_path}/other.sqlite") as context:
        alone = pretrain_stage(context, prepare_stage(context), group)
    assert weights(together) == weights(alone)
