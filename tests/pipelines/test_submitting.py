"""`crossover upload` and `submit` against a stand-in of Kubeflow's API server: once, followed, errors with remedies."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from crossover_pipelines import uploading
from crossover_pipelines.cluster_profile import ClusterProfile
from crossover_pipelines.command_options import Options
from crossover_pipelines.compiling import compile_study
from crossover_pipelines.kfp_api import RETRIES, KfpApi
from crossover_pipelines.run_following import Follower
from crossover_pipelines.submitting import Submission, submission_of, submit
from crossover_pipelines.uploading import upload, version_name

from crossover.cli import main
from crossover.errors import PipelinesError, StageFailedError, StudyError
from crossover.settings import get_settings
from crossover.study.load_study import load_study, parse_study
from tests.pipelines.kfp_stub import KfpStub, kfp_stub

COMPILED: dict[str, str] = {}
PROFILE = ClusterProfile(workspace="s3://bucket/studies/demo", registry="http://crossover-registry:8090")


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes seconds on a busy machine, and each test compiles the same profiles."""
    monkeypatch.setattr(uploading, "compile_study", compiled)


def compiled(profile: ClusterProfile) -> str:
    key = profile.model_dump_json()
    if key not in COMPILED:
        COMPILED[key] = compile_study(profile)
    return COMPILED[key]


@pytest.fixture
def stub() -> Iterator[KfpStub]:
    with kfp_stub() as running:
        yield running


def connection(stub: KfpStub, token_file: Path | None = None) -> KfpApi:
    return KfpApi(stub.url, token_file, pause=lambda seconds: None)


def options(**given: object) -> Options:
    values: dict[str, object] = {
        "study": "smoke",
        "promote": "verdict",
        "seeds_per_task": 1,
        "data_shards": 1,
        "follow": True,
    }
    return Options(values | given)


def work(**given: object) -> Submission:
    return submission_of(options(**given), PROFILE)


def test_the_pipeline_is_uploaded_once(stub: KfpStub) -> None:
    first, second = (upload(connection(stub), PROFILE) for _ in range(2))
    assert (first.is_new, second.is_new) == (True, False)
    assert first[:3] == second[:3]
    assert first.version == version_name(compiled(PROFILE))
    assert stub.packages == {first.version_id: compiled(PROFILE)}
    others = [upload(connection(stub), PROFILE.model_copy(update={"restarts": n})) for n in range(3)]
    assert {other.pipeline_id for other in others} == {first.pipeline_id}
    assert len(stub.versions) == 4
    assert upload(connection(stub), PROFILE)[:3] == first[:3], "found on the second page"


@pytest.mark.parametrize("route", ["/pipelines", "/pipelines/upload_version"])
def test_another_upload_at_the_same_moment_is_no_failure(
    stub: KfpStub, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name was free when it was looked up, and is taken when it is created."""
    done: list[str] = []
    answer = KfpStub.answer

    def raced(self: KfpStub, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> object:
        if method == "POST" and path == route and not done:
            done.append(path)
            assert answer(self, method, path, query, body, kind)[0] == 200
        return answer(self, method, path, query, body, kind)

    monkeypatch.setattr(KfpStub, "answer", raced)
    result = upload(connection(stub), PROFILE)
    assert done == [route]
    assert (len(stub.pipelines), len(stub.versions)) == (1, 1)
    assert result.version_id in stub.versions


def test_a_study_is_started_once_and_again_when_it_has_ended(stub: KfpStub) -> None:
    api, version = connection(stub), upload(connection(stub), PROFILE)
    run_id, is_new = submit(api, work(), version)
    assert is_new
    assert submit(api, work(), version) == (run_id, False)
    assert submit(api, work(out="s3://bucket/elsewhere"), version)[1], "other parameters are another run"
    stub.runs[run_id].state = "FAILED"
    assert submit(api, work(), version)[1]
    assert len(stub.experiments) == 1
    parameters = stub.runs[run_id].runtime_config.parameters
    assert {name: value for name, value in parameters.items() if name != "study"} == {
        **{"workspace": "s3://bucket/studies/smoke", "registry": "http://crossover-registry:8090", "endpoint": ""},
        **{"promotion": "verdict", "seeds_per_task": 1, "runs": "", "data_shards": 1},
    }
    text = base64.b64decode(parameters["study"].removeprefix("base64:")).decode()
    assert parse_study(text) == load_study("smoke")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"study": "dmeo"}, StudyError, "did you mean|neither a preset"),
        ({"out": "studies/mine"}, PipelinesError, "is a folder"),
        ({"seeds_per_task": 0}, StudyError, "give 1 or more"),
        ({"data_shards": 0}, StudyError, "0 shards read nothing"),
        ({"registry": "postgresql://user:pass@host/db"}, Exception, "holds a password"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(
    given: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        work(**given)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "token is missing or has expired"), (403, "bind it to a role"), (404, "check --host"), (500, "the log of")],
)
def test_a_refusal_says_what_to_do(stub: KfpStub, status: int, words: str) -> None:
    stub.failures = [status] * 3
    with pytest.raises(PipelinesError, match=words) as caught:
        upload(connection(stub), PROFILE)
    assert f"HTTP {status}" in str(caught.value)
    assert "as the test wants" in str(caught.value)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_asked_again(stub: KfpStub, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    stub.failures = [status] * RETRIES
    assert upload(connection(stub), PROFILE).is_new
    assert "trying again" in capsys.readouterr().err
    stub.failures = [status] * (RETRIES + 1)
    with pytest.raises(PipelinesError, match=f"HTTP {status}"):
        upload(connection(stub), PROFILE)


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(PipelinesError, match=r"does not answer .*port-forward"):
        upload(KfpApi("http://127.0.0.1:9", pause=lambda seconds: None), PROFILE)


def test_a_token_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with kfp_stub(token="secret-1") as stub:  # noqa: S106 - not a secret
        file.write_text("secret-0\n")
        with pytest.raises(PipelinesError, match="HTTP 401"):
            upload(connection(stub, file), PROFILE)
        file.write_text("secret-1\n")
        assert upload(connection(stub, file), PROFILE).is_new
        with pytest.raises(PipelinesError, match="cannot be read"):
            upload(connection(stub, tmp_path / "absent"), PROFILE)


def history(*states: str) -> list[tuple[str, str, str]]:
    """One look at a run: its state, and `name:STATE` of its tasks."""
    first, *tasks = states
    return [("run", first, ""), *((name, state, "") for name, _, state in (task.partition(":") for task in tasks))]


def test_a_run_is_followed_to_its_end(stub: KfpStub, capsys: pytest.CaptureFixture[str]) -> None:
    run_id, _ = submit(connection(stub), work(), upload(connection(stub), PROFILE))
    loop = ("prerequisites:SUCCEEDED", "for-loop-1:RUNNING", "pretraining-driver:SUCCEEDED")
    stub.histories = [
        history("PENDING"),
        history("RUNNING", "prerequisites:RUNNING"),
        history("RUNNING", *loop, "pretraining:RUNNING", "pretraining:RUNNING"),
        *[history("RUNNING", *loop, "pretraining:SUCCEEDED", "pretraining:RUNNING")] * 7,
        history("SUCCEEDED", "pretraining:SUCCEEDED", "pretraining:SUCCEEDED", "evaluation:SUCCEEDED"),
    ]
    times = iter(range(0, 10_000, 60))
    follower = Follower(connection(stub), run_id, 4, pause=lambda seconds: None, clock=lambda: float(next(times)))
    follower.follow()
    assert capsys.readouterr().out.splitlines() == [
        "pending",
        "running; prerequisites",
        "running; pretraining 0 done, 2 running",
        "running; pretraining 1 done, 1 running; about 3 min left of it",
        "running; pretraining 1 done, 1 running; about 21 min left of it",
        "succeeded; pretraining 2 done; evaluation 1 done",
    ]


def test_a_failed_run_names_its_step_and_its_page(stub: KfpStub) -> None:
    api, version = connection(stub), upload(connection(stub), PROFILE)
    run_id, _ = submit(api, work(), version)
    stub.histories = [
        [("run", "FAILED", ""), ("pretraining", "FAILED", "out of memory"), ("pretraining", "FAILED", "")]
    ]
    with pytest.raises(StageFailedError, match="out of memory, and 1 other tasks") as caught:
        Follower(api, run_id, 4, pause=lambda seconds: None).follow()
    assert caught.value.stage == "pretraining"
    assert f"{stub.url}/#/runs/details/{run_id}" in str(caught.value)
    stub.histories = [[("run", "CANCELED", "")]]
    with pytest.raises(StageFailedError, match="it is canceled"):
        Follower(api, run_id, 4, pause=lambda seconds: None).follow()


def test_the_verbs(stub: KfpStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "cluster.yaml"
    profile.write_text("workspace: s3://bucket/studies/x\nregistry: http://crossover-registry:8090\n")
    place = ["--host", stub.url, "--profile", str(profile)]
    assert main(["upload", *place]) == 0
    assert main(["upload", *place]) == 0
    assert [line.split(" ", 1)[1] for line in capfd.readouterr().out.splitlines()] == [
        "(uploaded)",
        "(was there already)",
    ]
    assert main(["submit", "smoke", *place, "--no-follow"]) == 0
    assert main(["submit", "smoke", *place, "--no-follow"]) == 0
    output = capfd.readouterr().out
    assert (output.count(" started: "), output.count(" is running already: ")) == (1, 1)
    assert main(["submit", "smoke", *place[:2], "--out", "nowhere"]) == 2
    profile.write_text("imgae: x\n")
    assert main(["upload", *place]) == 2
    assert "imgae" in capfd.readouterr().err


def test_ctrl_c_ends_only_the_following(stub: KfpStub, tmp_path: Path) -> None:
    values = {
        "host": stub.url,
        "follow": True,
        "study": "smoke",
        "promote": "verdict",
        "seeds_per_task": 1,
        "data_shards": 1,
    }
    command = [sys.executable, "-m", "crossover_pipelines.submitting", json.dumps(values)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job, as this test may be, ignores the signal
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads there
    )
    deadline = time.monotonic() + 60
    while ("GET", f"/runs/{next(iter(stub.runs), '')}") not in stub.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the run goes on" in error
    assert "Traceback" not in error


def test_a_profile_names_what_is_wrong(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    get_settings.cache_clear()
    for text, words in (
        ("steps: {pretrainig: {cpu: 1}}", "no step is named pretrainig"),
        ("steps: {all: {memory: 1 GB}}", "memory"),
        ("env: {CROSSOVER_S3_SECRET_KEY: x}", "would be compiled in clear"),
        ("env: {A: x}\nenv_from_secrets: {A: {name: s, key: k}}", "in env and in env_from_secrets"),
        ("restarts: -1", "restarts"),
        ("- a list", "not a mapping"),
        ("a: [", "cannot be read as a profile"),
    ):
        file = tmp_path / "profile.yaml"
        file.write_text(text)
        assert main(["compile", "--profile", str(file)]) == 2
        error = capfd.readouterr().err
        assert words in error, error
        assert len(error.splitlines()) == 1
    assert main(["compile", "--profile", str(tmp_path / "absent.yaml")]) == 2
