"""Shared by all tests: small real studies, one CPU thread, a registry and a workspace in a temporary folder."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from crossover.analysis.across import study_overview
from crossover.analysis.across.scaling_law_fits import fit_laws
from crossover.model.model_config import ModelConfig
from crossover.model.transformer import Transformer
from crossover.registry import upgrade
from crossover.settings import get_settings
from crossover.stages import report_samples
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from tests.postgres import server

PACKS = Path(__file__).parents[2] / "shared" / "data" / "eval"
"""Real evaluation sets, which are not kept in the repository."""
WITHOUT_PACKS = "needs the evaluation sets beside the checkout"
needs_packs = pytest.mark.skipif(not PACKS.is_dir(), reason=WITHOUT_PACKS)
VOICES = ("the cat sat on the mat", "a dog ran in the park", "rain fell over the town", "she read the old book")


def write_corpus(folder: Path, documents: int = 40) -> Path:
    """A folder of small different text files, enough for a split and the cloze task."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        lines = [f"{VOICES[(number + i) % 4]} {number * 31 + i * 7}" for i in range(12)]
        (folder / f"{number:03d}.txt").write_text("\n".join(lines) + "\n")
    return folder


settings.register_profile("any-machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_configure() -> None:
    """Give every process that tests start, pytest's own workers included, one thread of each library."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes that import torch each
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of the processes would compile our packages


LONG_FIRST = (
    "tests/pipelines/",
    "tests/test_",
    "tests/services/",
    "tests/crossover/stages/",
    "tests/crossover/training/",
)
"""Where tests take long, the longest first: those that start pipelines, verbs and servers, and those that train."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, so that at the end of a run on several workers only short ones are left to share."""
    items.sort(key=lambda item: next((i for i, place in enumerate(LONG_FIRST) if item.nodeid.startswith(place)), 99))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test has failed, but for the evaluation sets, which a public checkout cannot hold."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and WITHOUT_PACKS not in str(report.longrepr):
        report.outcome, report.longrepr = "failed", f"nothing is skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("CROSSOVER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CROSSOVER_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("CROSSOVER_THREADS", "1")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(autouse=True, scope="session")
def _short_analyses() -> Iterator[None]:
    """In this process the overview fits scaling laws with two bootstrap draws, and the report's samples are short.

    They are most of the time of a tiny study's analysis. 24 tokens are still longer than the context of its models.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_overview, "fit_laws", partial(fit_laws, draws=2))
        patch.setattr(report_samples, "TOKENS", 24)
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyConfig, Path]:
    """A small study that went through the stages once, and its workspace: to be copied, never written to."""
    from tests.crossover.stages.trained_study import train_study  # imports this module

    folder = tmp_path_factory.mktemp("reuse")
    return train_study(folder), folder / "ws"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a database of a server that all tests of the process share: each takes a schema of its own."""
    with server() as template:
        yield template.format(database="postgres")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty SQLite registry of this version's schema."""
    path = tmp_path_factory.mktemp("migrated") / "registry.sqlite"
    upgrade(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus folder."""
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def tiny_study(corpus: Path) -> StudyConfig:
    """Two seeds, a few steps, on the corpus of small text files."""
    return parse_study(
        f"""
name: tiny
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [512, 1024], models: [pico]}}
seeds: 2
training: {{epochs: 4, batch_size: 8, warmup_steps: 2}}
evaluation: {{points: 4, nelbo_draws: 4, chain_rule_examples: 2, chain_rule_points: 1, cloze_items: 8, cloze_draws: 2}}
"""
    )


def tiny_model(*, causal: bool, vocab: int = 7, length: int = 5, seed: int = 0, block_length: int = 0) -> Transformer:
    """A model small enough to enumerate, with weights large enough to matter; the last row is MASK."""
    config = ModelConfig(
        vocab_size=vocab,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        intermediate_size=24,
        max_length=length,
        init_std=0.4,
    )
    model = Transformer(config, causal=causal, mask_id=vocab - 1, block_length=block_length)
    model.initialise(torch.Generator().manual_seed(seed))
    return model.eval()


@pytest.fixture
def examples() -> np.ndarray:
    """64 fixed byte sequences of length 16 with structure to learn, the same on every machine."""
    text = ("".join(f"{VOICES[i % 4]} {i}\n" for i in range(60))).encode()
    return np.frombuffer(text, dtype=np.uint8)[: 64 * 16].reshape(64, 16).astype(np.uint16)
