"""For the whole session: a server of a random checkpoint of each family, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossover.commands.serve_command import serving
from crossover.model.transformer import Transformer
from crossover.training.checkpoint import save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo
from tests.conftest import tiny_model
from tests.services import chromium


def write_checkpoint(folder: Path, *, causal: bool = True, model: Transformer | None = None) -> Path:
    """A model, by default a small random one, as pretraining saves it."""
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
    save_checkpoint(folder, info, model.state_dict())
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
