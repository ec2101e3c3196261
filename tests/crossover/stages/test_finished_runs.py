"""A run whose checkpoints are all saved counts as done, with its rows, however its last attempt ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from crossover.registry import Registry
from crossover.settings import get_settings
from crossover.stages import pretrain_stage as pretraining
from crossover.stages.evaluate_stage import evaluate_stage
from crossover.stages.prepare_stage import prepare_stage
from crossover.stages.pretrain_stage import RegistryRecorder, pretrain_stage
from crossover.stages.stage_manifests import Group, RunsRef
from crossover.stages.study_context import StudyContext, open_study
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.training.distributed import open_world
from crossover.training.recorder import Progress
from crossover.training.train_engine import TrainEngine
from tests.processes import run_ranks, start

GROUP = Group(cell="u1024-pico", arm="ar", seeds=(0,))


def pretrain(study: StudyConfig, folder: Path, registry: str = "") -> RunsRef:
    with open_study(study, str(folder / "ws"), registry) as context:
        return pretrain_stage(context, prepare_stage(context), GROUP)


def killed_before_the_row(study_json: str, folder: Path, step: int) -> None:
    """Train, and die when the checkpoint of a step is durable and not yet in the registry."""
    real = RegistryRecorder.checkpoint

    def checkpoint(self: RegistryRecorder, at: Progress, place: Path, digest: str) -> None:
        if at.step == step:
            assert (place / "manifest.json").exists()
            os.kill(os.getpid(), signal.SIGKILL)
        real(self, at, place, digest)

    RegistryRecorder.checkpoint = checkpoint  # type: ignore[method-assign, assignment]  # replaced for the test
    pretrain(parse_study(study_json), folder)


def assert_done(runs: RunsRef, *, registry: str = "", attempts: int | None = None) -> None:
    """The registry says that the run is done, and has a row for each of its checkpoints."""
    (run,) = runs.runs
    with Registry.open(registry or get_settings().registry) as opened:
        assert opened.query("SELECT status FROM v_runs").rows == (("done",),)
        rows = opened.query("SELECT step, uri, digest, tokens FROM checkpoint ORDER BY step").rows
        if attempts is not None:
            assert opened.query("SELECT attempts FROM v_runs").rows == ((attempts,),)
        open_attempts = opened.query("SELECT COUNT(*) FROM attempt WHERE ended_at IS NULL").rows
    assert rows == tuple((c.step, c.uri, c.digest, c.step * 8 * 16) for c in run.checkpoints)
    assert open_attempts == ((0,),)


@pytest.mark.parametrize("milestone", [1, -1], ids=["early", "last"])
def test_killed_between_a_durable_checkpoint_and_its_row(
    milestone: int, tiny_study: StudyConfig, tmp_path: Path
) -> None:
    steps = tiny_study.evaluation_steps(tiny_study.cell(GROUP.cell))
    process = start(killed_before_the_row, tiny_study.model_dump_json(), tmp_path, steps[milestone])
    process.join()
    assert process.exitcode == -signal.SIGKILL
    runs = pretrain(tiny_study, tmp_path)
    assert_done(runs)
    with Registry.open(get_settings().registry) as registry:
        points = registry.query("SELECT step FROM v_curves WHERE metric = 'training_loss' ORDER BY step").rows
    assert points == tuple((step,) for step in range(1, steps[-1] + 1)), "every step has its point"


def test_interrupted_when_the_last_checkpoint_is_durable(
    tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretraining, "_publish_missing", interrupted)
        pretrain(tiny_study, tmp_path)
    assert_done(pretrain(tiny_study, tmp_path))


def test_a_finished_run_is_done_in_another_registry(tiny_study: StudyConfig, tmp_path: Path) -> None:
    runs = pretrain(tiny_study, tmp_path)
    other = f"sqlite:///{tmp_path}/other.sqlite"
    assert pretrain(tiny_study, tmp_path, other) == runs
    assert_done(runs, registry=other)


def test_runs_can_be_evaluated_with_another_registry(tiny_study: StudyConfig, tmp_path: Path) -> None:
    runs = pretrain(tiny_study, tmp_path)
    other = f"sqlite:///{tmp_path}/other.sqlite"
    with open_study(tiny_study, str(tmp_path / "ws"), other) as context:
        evaluate_stage(context, prepare_stage(context), runs)
        measured = context.registry.query(
            "SELECT COUNT(*), MAX(epochs) FROM v_curves WHERE metric = 'validation_bpb'"
        ).rows
    assert_done(runs, registry=other)
    assert measured == ((4, 4.0),)


def test_finding_a_run_finished_again_writes_nothing_new(tiny_study: StudyConfig, tmp_path: Path) -> None:
    def rows(context: StudyContext) -> list[tuple[tuple[object, ...], ...]]:
        return [context.registry.query(f"SELECT * FROM {name}").rows for name in ("run", "attempt", "checkpoint")]

    with open_study(tiny_study, str(tmp_path / "ws")) as context:
        dataset = prepare_stage(context)
        pretrain_stage(context, dataset, GROUP)
        before = rows(context)
        pretrain_stage(context, dataset, GROUP)
        assert rows(context) == before


def pretrain_on_its_own_disk(study_json: str, folder: Path) -> None:
    """One rank with a workspace of its own, as on machines without a shared disk."""
    rank = os.environ["RANK"]
    study = parse_study(study_json)
    torch.set_num_threads(1)
    registry = f"sqlite:///{folder}/registry-{rank}.sqlite"
    with open_world() as world, open_study(study, str(folder / f"ws-{rank}"), registry) as context:
        runs = pretrain_stage(context, prepare_stage(context), GROUP, world)
        runs.write(folder / f"runs-{rank}.json")


def test_two_machines_without_a_shared_disk_resume_a_run(
    tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints and resume points are on the leading machine alone; the bits are those of one machine."""
    training = tiny_study.training.model_copy(update={"microbatch_size": 2})
    tiny_study = tiny_study.model_copy(update={"training": training})
    real = TrainEngine.apply
    steps: list[float] = []

    def interrupted(self: TrainEngine, rate: float, step: int) -> None:
        steps.append(rate)
        if len(steps) == 23:
            raise KeyboardInterrupt
        real(self, rate, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainEngine, "apply", interrupted)
        with open_study(tiny_study, str(tmp_path / "ws-0"), f"sqlite:///{tmp_path}/registry-0.sqlite") as context:
            pretrain_stage(context, prepare_stage(context), GROUP)
    run_ranks(2, pretrain_on_its_own_disk, tiny_study.model_dump_json(), tmp_path)
    runs = [RunsRef.read(tmp_path / f"runs-{rank}.json") for rank in (0, 1)]
    assert runs[0] == runs[1]
    assert_done(runs[0], registry=f"sqlite:///{tmp_path}/registry-0.sqlite", attempts=2)
    assert not list((tmp_path / "ws-1").rglob("model.safetensors"))
    alone = pretrain(tiny_study, tmp_path)
    last, expected = (Path(r.runs[0].checkpoints[-1].uri) / "model.safetensors" for r in (runs[0], alone))
    assert last.read_bytes() == expected.read_bytes()
