"""Shared by all tests: small real studies, one CPU thread, a registry and a workspace in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from crossover.model.config import ModelConfig
from crossover.model.transformer import Transformer
from crossover.settings import get_settings
from crossover.study.study_config import StudyConfig, parse_study

PACKS = Path(__file__).parents[2] / "shared" / "data" / "eval"
"""Real evaluation sets, which are not kept in the repository."""
needs_packs = pytest.mark.skipif(not PACKS.is_dir(), reason="needs the evaluation sets beside the checkout")
VOICES = ("the cat sat on the mat", "a dog ran in the park", "rain fell over the town", "she read the old book")


def write_corpus(folder: Path, documents: int = 40) -> Path:
    """A folder of small different text files, enough for a split and the cloze task."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        lines = [f"{VOICES[(number + i) % 4]} {number * 31 + i * 7}" for i in range(12)]
        (folder / f"{number:03d}.txt").write_text("\n".join(lines) + "\n")
    return folder


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
