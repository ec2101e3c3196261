"""What the predictor serves: the wanted checkpoint, whole, from a folder or an object store, or nothing at all."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from crossover_services.predictor import application
from crossover_services.predictor.checkpoint_source import fetch_checkpoint
from crossover_services.predictor.server_options import server_options

from crossover.errors import CheckpointError, RegistryError, StorageError
from crossover.registry import Registry
from crossover.settings import get_settings
from crossover.storage import open_store
from crossover.study.identity import RunId
from crossover.training.checkpoint_info import checkpoint_digest
from tests import seaweed
from tests.services.conftest import write_checkpoint
from tests.services.predictor_process import command, predictor
from tests.services.registry_server import Server


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "c")


def promoted(database: Path, digest: str) -> str:
    """The URL of a registry with a promotion of the run of `write_checkpoint`."""
    url = f"sqlite:///{database}"
    with Registry.open(url) as registry:
        registry.register_study(name="s", digest="s", config={})
        registry.register_run("s", RunId("c", "a", 0), "sha256:x", config={}, epoch_tokens=1)
        registry.record_deployment("s", "sha256:x", step=1, uri="u", digest=digest, analysis_digest="a", reason="r")
    return url


def test_a_folder_and_a_file_uri(checkpoint: Path) -> None:
    digest = checkpoint_digest(checkpoint)
    for place in (str(checkpoint), f"file://{checkpoint}"):
        assert fetch_checkpoint(place) == fetch_checkpoint(place, digest) == checkpoint
    with pytest.raises(CheckpointError, match=f"has {digest}, not sha256:other") as caught:
        fetch_checkpoint(str(checkpoint), "sha256:other")
    assert caught.value.code == "checkpoint.other-digest"


def test_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with seaweed.server(tmp_path / "weed", "bucket") as endpoint:
        variables = {
            "ENDPOINT": endpoint,
            "SECURE": "false",
            "ACCESS_KEY": "a",
            "SECRET_KEY": "b",
            "REGION": "us-east-1",
        }
        for name, value in variables.items():
            monkeypatch.setenv(f"CROSSOVER_S3_{name}", value)
        monkeypatch.setenv("CROSSOVER_SCRATCH", str(tmp_path / "scratch"))
        get_settings.cache_clear()
        store = open_store("s3://bucket/ws/runs")
        write_checkpoint(store.path("step-1"))
        digest = store.publish("step-1")
        uri = store.uri_of("step-1")
        shutil.rmtree(store.path("step-1"))
        folder = fetch_checkpoint(uri, digest)
        assert checkpoint_digest(folder) == digest
        with pytest.raises(CheckpointError, match=f"{uri} has {digest}, not sha256:other"):
            fetch_checkpoint(uri, "sha256:other")
        with pytest.raises(StorageError):
            fetch_checkpoint(f"{uri}1")
        with predictor(uri, tmp_path, "--digest", digest) as server:
            assert httpx.get(f"{server.url}/v1/models").json()["data"][0]["digest"] == digest


@pytest.fixture(params=["database", "service"])
def registry(request: pytest.FixtureRequest, checkpoint: Path, tmp_path: Path) -> Iterator[str]:
    """A registry that knows the checkpoint as promoted."""
    url = promoted(tmp_path / "r.sqlite", checkpoint_digest(checkpoint))
    if request.param == "database":
        yield url
        return
    server = Server(url, tmp_path)
    server.start()
    yield server.url
    server.stop()


def test_a_registry_must_know_the_checkpoint(registry: str, checkpoint: Path, tmp_path: Path) -> None:
    assert fetch_checkpoint(str(checkpoint), registry=registry) == checkpoint
    other = write_checkpoint(tmp_path / "other", causal=False)
    with pytest.raises(CheckpointError, match=f"no promotion of c/a/seed-0 with the digest {checkpoint_digest(other)}"):
        fetch_checkpoint(str(other), registry=registry)


def test_a_registry_that_does_not_answer_is_no_permission(checkpoint: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for registry in (url, f"sqlite:///{tmp_path}/none.sqlite"):
        with pytest.raises(RegistryError):
            fetch_checkpoint(str(checkpoint), registry=registry)


def altered(folder: Path) -> None:
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)


def pickled(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")


def unnamed(folder: Path) -> None:
    """Weights that the manifest does not name, so that no digest guards them."""
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("model.safetensors", "other.safetensors"))


def torn(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (altered, "model.safetensors does not have the recorded digest"),
        (pickled, "(pytorch_model.bin); name a checkpoint folder that pretraining wrote; pickled weights are never"),
        (unnamed, "no manifest.json that names model.safetensors"),
        (torn, "no manifest.json that names model.safetensors"),
        (shutil.rmtree, "(no folder)"),
    ],
)
def test_anything_else_is_refused_in_one_line(checkpoint: Path, fault: object, message: str) -> None:
    assert callable(fault)
    fault(checkpoint)
    result = subprocess.run(command(checkpoint), capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("crossover: ")
    assert message in line


def test_a_taken_grpc_port_is_refused_in_one_line(checkpoint: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        started = command(checkpoint, "--grpc-port", port)
        result = subprocess.run(started, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert f"--grpc-port: cannot listen on 127.0.0.1:{port}" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "size"), [("2GiB", 2**31), ("500MB", 500_000_000), ("1.5k", 1500), ("7", 7), (" 1 gb ", 10**9)]
)
def test_sizes(text: str, size: int) -> None:
    assert server_options(["--checkpoint", "c", "--memory", text]).memory == size


@pytest.mark.parametrize(
    "flags",
    [
        ("--memory", "2 apples"),
        ("--memory", "-1"),
        ("--max-queue", "0"),
        ("--max-running", "x"),
        ("--timeout", "0"),
        ("--timeout", "nan"),
        ("--read-timeout", "inf"),
        ("--dtype", "fp16"),
    ],
)
def test_senseless_flags_are_refused(flags: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        server_options(["--checkpoint", "c", *flags])
    assert caught.value.code == 2
    assert flags[0] in capsys.readouterr().err


@pytest.mark.parametrize(("setting", "cores", "threads"), [("0", 2, 2), ("0", 8, 4), ("3", 2, 3), ("9", 2, 4)])
def test_threads_are_those_of_the_container(
    setting: str, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where torch would take 4, as it knows the machine and not the container."""
    monkeypatch.setenv("CROSSOVER_THREADS", setting)
    get_settings.cache_clear()
    monkeypatch.setattr(application, "available_cores", lambda: cores)
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    assert application.cpu_threads() == threads
