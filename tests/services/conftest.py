"""For the whole session: a server of a random checkpoint of each family, and a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from crossover.commands.serve_command import serving
from crossover.files import digest_of_file
from crossover.model.transformer import Transformer
from crossover.training.checkpoint import save_checkpoint
from crossover.training.checkpoint_info import MANIFEST, CheckpointInfo
from tests.conftest import tiny_model
from tests.services import chromium


def write_checkpoint(
    folder: Path, *, causal: bool = True, model: Transformer | None = None, chat_template: str = ""
) -> Path:
    """A model, by default a small random one, as pretraining saves it; with a chat template, as users add one."""
    model = model or tiny_model(causal=causal, vocab=259, length=32)
    info = CheckpointInfo(
        run="c/a/seed-0",
        run_digest="sha256:x",
        arm="ar" if model.causal else "dlm",
        family="AR" if model.causal else "DLM",
        seed=0,
        step=1,
        tokens=1,
        flops=1.0,
        seconds=1.0,
        model=model.config,
    )
    save_checkpoint(folder, info, model.state_dict(), tokenizer=model.tokenizer)
    if chat_template:
        path, manifest = folder / "tokenizer_config.json", json.loads((folder / MANIFEST).read_text())
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": chat_template}))
        manifest["files"][path.name] = digest_of_file(path)
        (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def ar_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(write_checkpoint(tmp_path_factory.mktemp("ar") / "c", causal=True)) as url:
        yield url


@pytest.fixture(scope="session")
def dlm_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(write_checkpoint(tmp_path_factory.mktemp("dlm") / "c", causal=False)) as url:
        yield url


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Tab]:
    program = chromium.found()
    if program is None:
        pytest.skip("no Chromium on this machine; CI has one")
    with chromium.tab(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(params=["ar_url", "dlm_url"])
def url(request: pytest.FixtureRequest) -> str:
    value: str = request.getfixturevalue(request.param)
    return value


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


@pytest.fixture
def dlm(dlm_url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{dlm_url}/v1", api_key="none", max_retries=0) as opened:
        yield opened
