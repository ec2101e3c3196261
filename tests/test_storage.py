"""The object store: the same behaviour in a folder and in a real S3 server; and a study whose workspace is a bucket."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from crossover.cli import main
from crossover.errors import WorkspaceError
from crossover.settings import Settings, get_settings
from crossover.stages.workspace import Workspace
from crossover.storage import LocalStore, S3Store, Store
from tests.conftest import write_corpus
from tests.seaweed import server

BUCKET = "crossover-tests"


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("weed"), BUCKET) as address:
        yield address


def s3_settings(endpoint: str, scratch: Path) -> Settings:
    return Settings(
        s3_endpoint=endpoint,
        s3_secure=False,
        s3_access_key=SecretStr("any"),
        s3_secret_key=SecretStr("any"),
        scratch=scratch,
    )


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return LocalStore(tmp_path / "store")
    endpoint: str = request.getfixturevalue("endpoint")
    return S3Store(f"s3://{BUCKET}/{tmp_path.name}", s3_settings(endpoint, tmp_path))


def test_put_get_keys_delete(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two" * 100_000)
    store.put("x/a", tmp_path / "a")
    store.put("x/deep/b", tmp_path / "b")
    store.put("y/a", tmp_path / "a")
    assert list(store.keys("x/")) == ["x/a", "x/deep/b"]
    assert list(store.keys("")) == ["x/a", "x/deep/b", "y/a"]
    store.put("x/a", tmp_path / "b")
    store.get("x/a", tmp_path / "back" / "a")
    assert (tmp_path / "back" / "a").read_bytes() == b"two" * 100_000
    store.delete("x/a")
    store.delete("x/a")
    assert list(store.keys("x/")) == ["x/deep/b"]
    with pytest.raises(WorkspaceError, match="run the step that writes it first"):
        store.get("x/a", tmp_path / "none")


def test_keys_do_not_lead_outside(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = LocalStore(tmp_path / "store")
    with pytest.raises(WorkspaceError, match="outside the store"):
        store.put("../escape", tmp_path / "file")


def test_a_study_lives_in_a_bucket(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step starts with an empty scratch folder, as a pod would, and finds what the steps before it left."""
    write_corpus(tmp_path / "corpus")
    study = tmp_path / "s.yaml"
    study.write_text(
        f'name: s\ndata: {{source: "text:{tmp_path}/corpus/*.txt", sequence_length: 16, validation_fraction: 0.3, '
        "validation_tokens: 128}\ngrid: {unique_tokens: [512], models: [pico]}\nseeds: 2\n"
        "training: {epochs: 4, batch_size: 8}\n"
        "evaluation: {points: 2, nelbo_draws: 2, chain_rule_examples: 0, cloze_items: 4, cloze_draws: 1}\n"
    )
    for name, value in (("ENDPOINT", endpoint), ("SECURE", "false"), ("ACCESS_KEY", "any"), ("SECRET_KEY", "any")):
        monkeypatch.setenv(f"CROSSOVER_S3_{name}", value)
    get_settings.cache_clear()
    uri = f"s3://{BUCKET}/study"
    scratch = Workspace(uri).root
    kept = tmp_path / "manifests"
    for verb in ("prepare", "pretrain", "evaluate", "analyse", "promote"):
        flags = ["--promote", "always"] if verb == "analyse" else []
        assert main([verb, str(study), "--out", uri, *flags]) == 0, verb
        if (scratch / "manifests").exists():
            shutil.copytree(scratch / "manifests", kept, dirs_exist_ok=True)
        shutil.rmtree(scratch)
        shutil.copytree(kept, scratch / "manifests")
    served = Workspace(uri).pull("serving")
    assert list(served.glob("*/model.safetensors"))
    keys = list(S3Store(uri, get_settings()).keys(""))
    assert "analysis/report.html" in keys
    assert not any(Path(key).name.startswith(".") for key in keys)


@pytest.mark.parametrize(
    ("uri", "settings", "words"),
    [
        ("s3://bucket/x", {}, "CROSSOVER_S3_ENDPOINT"),
        ("gs://bucket/x", {}, "unknown scheme"),
        ("s3://no-such-bucket-here/x", {"s3_secure": False}, "there is no bucket"),
    ],
)
def test_bad_places(endpoint: str, tmp_path: Path, uri: str, settings: dict[str, bool], words: str) -> None:
    chosen = s3_settings(endpoint, tmp_path) if settings else Settings()
    with pytest.raises(WorkspaceError, match=words):
        Workspace(uri, chosen)


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="object store answered"):
        Workspace("s3://bucket/x", s3_settings("127.0.0.1:9", tmp_path))
