"""What a component opens: a failure is an event with the stage and the run, and no password is taken as a parameter."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossover.commands.local_run import StudyProgress
from crossover.errors import RegistryError, UserError
from crossover.progress import parse_event
from crossover.stages.pipeline_stage import open_pipeline_stage
from crossover.stages.prepare_stage import plan_groups, prepare_stage
from crossover.stages.pretrain_stage import pretrain_stage
from crossover.study.study_config import StudyConfig


@pytest.fixture(autouse=True)
def _events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSOVER_EVENTS", "1")


def test_a_failed_run_is_named(tiny_study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run's folder cannot be made, because a file has its name."""
    workspace, registry = tmp_path / "ws", f"sqlite:///{tmp_path}/r.sqlite"
    study = tiny_study.model_dump_json()
    with (
        pytest.raises((UserError, OSError)),
        open_pipeline_stage("pretraining", study, str(workspace), registry) as context,
    ):
        dataset, group = prepare_stage(context), plan_groups(context, 1)[0]
        (workspace / "runs").mkdir()
        (workspace / "runs" / group.cell).write_text("")
        pretrain_stage(context, dataset, group)
    progress = StudyProgress(runs=1)
    for line in capsys.readouterr().out.splitlines():
        progress.take(line)
    failure = progress.failure(1, tmp_path / "log")
    assert (failure.stage, failure.exit_code) == (f"pretraining {group.cell}/{group.arm}/seed-0", 2)


@pytest.mark.parametrize(
    "url", ["postgresql://user:pa55wd@host/name", "postgresql+psycopg://host/name?user=u&password=pa55wd"]
)
def test_a_password_as_a_parameter_is_refused(
    url: str, tiny_study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(RegistryError) as caught,
        open_pipeline_stage("data_preparation", tiny_study.model_dump_json(), str(tmp_path / "ws"), url),
    ):
        pytest.fail("it was opened")
    assert caught.value.code == "registry.password-in-parameter"
    assert "CROSSOVER_REGISTRY_URL in the pods from a Kubernetes Secret" in caught.value.remedy
    output = capsys.readouterr().out
    assert "pa55wd" not in output + str(caught.value)
    event = parse_event(output)
    assert event is not None
    assert (event["stage"], event["exit_code"]) == ("data_preparation", 2)
    assert not (tmp_path / "ws").exists()


def test_a_stage_that_was_killed_is_named_by_its_task(tmp_path: Path) -> None:
    progress = StudyProgress(runs=1)
    progress.take(
        "12:00:00.000 - ERROR - Task \x1b[96m'pretraining'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n"
    )
    progress.take("Pipeline 'crossover-study' finished with status FAILURE. Inner task failed: 'pretraining'.\n")
    failure = progress.failure(1, tmp_path / "log")
    assert str(failure) == (
        f"stage pretraining: ended without an error message, exit status 1 (log: {tmp_path / 'log'})"
    )


def test_an_exception_of_a_stage_is_not_its_name(tmp_path: Path) -> None:
    progress = StudyProgress(runs=1)
    progress.take("    ValueError: no such thing\n")
    progress.take("Task 'evaluation' finished with status FAILURE\n")
    failure = progress.failure(1, tmp_path / "log")
    assert (failure.stage, failure.exit_code) == ("evaluation", 1)
    assert failure.message.startswith("ValueError: no such thing (log: ")
