"""What a component opens: a failure is an event with the stage and the run, and no password is taken as a parameter."""

from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from crossover_components.prerequisites.component import prerequisites
from crossover_pipelines.cluster_profile import ClusterProfile, Gpu, StepResources

from crossover.commands.study_progress import StudyProgress
from crossover.errors import StudyError
from crossover.progress import parse_event
from crossover.stages.pipeline_stage import check_gpu_steps, open_pipeline_stage
from crossover.stages.prepare_stage import plan_groups, prepare_stage
from crossover.stages.pretrain_stage import pretrain_stage
from crossover.stages.study_text import encoded_study, resolve_study
from crossover.study.load_study import load_study
from crossover.study.study_config import StudyConfig
from crossover.study.tuning_config import TuningConfig
from crossover.termination import MESSAGE


@pytest.fixture(autouse=True)
def _events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSOVER_EVENTS", "1")


def test_a_failed_run_is_named(tiny_study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run's folder cannot be made, because a file has its name."""
    workspace, registry = tmp_path / "ws", f"sqlite:///{tmp_path}/r.sqlite"
    study = tiny_study.model_dump_json()
    with (
        pytest.raises(SystemExit),
        open_pipeline_stage("pretraining", study, str(workspace), registry) as context,
    ):
        dataset, group = prepare_stage(context), plan_groups(context, 1)[0]
        (workspace / "runs").mkdir()
        (workspace / "runs" / group.cell).write_text("")
        pretrain_stage(context, dataset, group)
    progress = StudyProgress([], {})
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
        pytest.raises(SystemExit) as caught,
        open_pipeline_stage("data_preparation", tiny_study.model_dump_json(), str(tmp_path / "ws"), url),
    ):
        pytest.fail("it was opened")
    assert caught.value.code == 2
    output, error = capsys.readouterr()
    assert "CROSSOVER_REGISTRY_URL in the pods from a Kubernetes Secret [registry.password-in-parameter]" in error
    assert "pa55wd" not in output + error
    event = parse_event(output)
    assert event is not None
    assert (event["stage"], event["exit_code"]) == ("data_preparation", 2)
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"promotion": "sometimes"}, "run.bad-promotion"),
        ({"promotion": "verdit"}, "run.bad-promotion"),
        ({"promotion": ""}, "run.bad-promotion"),
        ({"seeds_per_task": 0}, "run.bad-seeds-per-task"),
        ({"seeds_per_task": -1}, "run.bad-seeds-per-task"),
        ({"data_shards": 0}, "run.bad-data-shards"),
        ({"runs": "u512-pico:0"}, "run.rounds-need-looks"),
        ({"registry": "nonsense"}, "registry.bad-url"),
        ({"workspace": "s3://"}, "storage.bad-uri"),
        ({"study": "dmeo"}, "study.not-found"),
        ({"study": "name: mine\nsed: 3"}, "study.invalid"),
    ],
)
def test_a_wrong_parameter_is_refused_by_the_first_stage_before_it_computes(
    parameters: dict[str, object],
    code: str,
    tiny_study: StudyConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As the last line of the component's log, without a traceback."""
    given: dict[str, object] = {
        **{"study": tiny_study.model_dump_json(), "workspace": str(tmp_path / "ws")},
        **{
            "registry": f"sqlite:///{tmp_path}/r.sqlite",
            "seeds_per_task": 1,
            "promotion": "verdict",
            "runs": "",
            "data_shards": 1,
        },
        **{"endpoint": "", "gpu_steps": ""},
    }
    with pytest.raises(SystemExit) as caught:
        prerequisites.python_func(**given | parameters, checked_study=None)
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"[{code}]")
    assert not (tmp_path / "ws" / "datasets").exists()


@pytest.mark.parametrize("before", ["", "  ", "\n\n", "\n    "])
@pytest.mark.parametrize("after", ["", " ", "\n", "\n\n  "])
def test_blanks_and_lines_around_a_pasted_study_change_nothing(before: str, after: str) -> None:
    assert resolve_study(f"{before}demo{after}").digest == load_study("demo").digest
    for text in ("name: mine\nseeds: 2", '{"name": "mine", "seeds": 2}', "name: mine"):
        assert resolve_study(f"{before}{text}{after}").name == "mine"
    assert resolve_study("  name: mine\n  seeds: 2\n").seeds == (0, 1), "an indented block"
    assert resolve_study("name: mine\nquestion: |\n  a\n\n  b\n").question == "a\n\nb"


FAILING = """
import sys
from kfp.dsl.executor_main import executor_main
sys.argv = ["executor", "--component_module_path", sys.argv[1], "--function_to_execute", "prerequisites",
            "--executor_input", sys.argv[2]]
executor_main()
"""


def test_in_a_pod_the_error_is_the_last_line_without_a_traceback(tmp_path: Path) -> None:
    """As KFP starts a component: its executor, which logs its input first."""
    parameters = {"study": "smoke", "workspace": str(tmp_path / "ws"), "registry": f"sqlite:///{tmp_path}/r.sqlite"}
    parameters |= {"promotion": "sometimes", "runs": "", "endpoint": "", "gpu_steps": ""}
    artifact = {
        "name": "checked_study",
        "type": {"schemaTitle": "system.Artifact"},
        "uri": str(tmp_path / "d"),
        "metadata": {},
    }
    executor_input = {
        "inputs": {"parameterValues": {**parameters, "seeds_per_task": 1, "data_shards": 1}},
        "outputs": {
            "parameters": {"Output": {"outputFile": str(tmp_path / "o")}},
            "artifacts": {"checked_study": {"artifacts": [artifact]}},
            "outputFile": str(tmp_path / "out.json"),
        },
    }
    source = inspect.getsourcefile(prerequisites.python_func)
    command = [sys.executable, "-c", FAILING, str(source), json.dumps(executor_input)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2, process.stderr
    assert process.stderr.splitlines()[-1] == (
        "crossover: promotion: 'sometimes' is not one of verdict, always, never; write one of them [run.bad-promotion]"
    )
    assert "Traceback" not in process.stderr


def test_a_stage_that_was_killed_is_named_by_its_task(tmp_path: Path) -> None:
    progress = StudyProgress([], {})
    progress.take(
        "12:00:00.000 - ERROR - Task \x1b[96m'pretraining'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m\n"
    )
    progress.take("Pipeline 'crossover-study' finished with status FAILURE. Inner task failed: 'pretraining'.\n")
    failure = progress.failure(1, tmp_path / "log")
    assert str(failure) == (
        f"stage pretraining: ended without an error message, exit status 1 (log: {tmp_path / 'log'})"
    )


def test_an_exception_of_a_stage_is_not_its_name(tmp_path: Path) -> None:
    progress = StudyProgress([], {})
    progress.take("    ValueError: no such thing\n")
    progress.take("Task 'evaluation' finished with status FAILURE\n")
    failure = progress.failure(1, tmp_path / "log")
    assert (failure.stage, failure.exit_code) == ("evaluation", 1)
    assert failure.message.startswith("ValueError: no such thing (log: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_stage_with_one_line_also_where_an_exception_would_be_lost(
    number: signal.Signals, tmp_path: Path
) -> None:
    """While termination is deferred, as training does, a signal within a finalizer is not lost either."""
    code = f"""
import os, time
from crossover.stages.pipeline_stage import check_gpu_steps, open_pipeline_stage
from crossover.termination import deferring_termination, termination_requested

class Finalizer:
    def __del__(self):
        os.kill(os.getpid(), {int(number)})
        time.sleep(0.01)

with open_pipeline_stage("pretraining", "smoke", {str(tmp_path / "ws")!r}, "sqlite:///{tmp_path}/r.sqlite"):
    with deferring_termination():
        Finalizer()
        print("requested", termination_requested(), flush=True)
    time.sleep(60)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert result.returncode == 143, result.stderr
    assert "requested True" in result.stdout
    assert result.stderr.splitlines()[-1] == f"crossover: {MESSAGE}"


def test_a_study_on_gpus_needs_them_in_the_pods_that_train_and_evaluate(
    tiny_study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = tiny_study.training.model_copy(update={"device": "cuda"})
    study = tiny_study.model_copy(update={"training": training})
    check_gpu_steps(study, "")  # this machine is no pod
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    check_gpu_steps(study, "pretraining,evaluation")
    check_gpu_steps(tiny_study, "")
    with pytest.raises(StudyError, match=r"without GPUs for the pods of evaluation; set steps.evaluation.gpu"):
        check_gpu_steps(study, "pretraining")
    swept = study.model_copy(update={"tuning": TuningConfig(learning_rates=(0.001, 0.01))})
    with pytest.raises(StudyError, match=r"without GPUs for the pods of tuning"):
        check_gpu_steps(swept, "pretraining,evaluation")


def test_the_pods_of_the_sweep_get_what_those_that_train_get_unless_train_jobs_train() -> None:
    steps = {
        "pretraining": StepResources(memory="64Gi", gpu=Gpu()),
        "evaluation": StepResources(memory="8Gi", gpu=Gpu()),
    }
    profile = ClusterProfile(steps=steps)
    assert profile.resources("tuning").memory == "64Gi"
    assert profile.model_copy(update={"nodes": 2}).resources("tuning").memory == "8Gi"
    own = ClusterProfile(steps=steps | {"tuning": StepResources(memory="4Gi")})
    assert (own.resources("tuning").memory, own.resources("tuning").gpu) == ("4Gi", Gpu())
    assert "tuning" in profile.gpu_steps


def test_a_pod_without_a_registry_is_refused(
    tiny_study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every pod would write to a file of its own, and lose it."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    for registry in ("", f"sqlite:///{tmp_path}/r.sqlite"):
        with (
            pytest.raises(SystemExit) as caught,
            open_pipeline_stage("pretraining", tiny_study.model_dump_json(), str(tmp_path / "ws"), registry),
        ):
            pytest.fail("it was opened")
        assert caught.value.code == 2
        assert "such as http://crossover-registry:8090" in capsys.readouterr().err
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    "question", ["{{workflow.name}} $(KFP_POD_NAME) {{$.x}}", "\U0001f600 'a' \"b\" python3", "a\nb"]
)
def test_an_encoded_study_arrives_unaltered(question: str, tiny_study: StudyConfig) -> None:
    study = tiny_study.model_copy(update={"question": question})
    text = encoded_study(study)
    assert not set(text) & set("{}$() '\"\n")
    assert resolve_study(text) == study


@pytest.mark.parametrize("text", ["base64:%%%", "base64:/w=="])
def test_a_wrong_encoding_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="no base64 of UTF-8 text"):
        resolve_study(text)
