"""The study files of the recipes: they load without a network, and the plan is the one in docs/recipes.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers.pre_tokenizers import ByteLevel

from crossover.cli import main
from crossover.settings import get_settings
from crossover.study.load_study import load_study
from crossover.tokenization.tokenizer_file import vocabulary_rows
from crossover.training.run_schedule import learning_rate, run_schedule

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "examples" / "recipes"
PAGE = ROOT / "docs" / "recipes.md"
NEOX_ROWS = 50_277
"""Entries of GPT-NeoX's tokenizer.json; MASK is one more."""


def write_stand_in(cache: Path) -> None:
    """A stand-in for GPT-NeoX's file in the Hub's cache: byte-level, and with as many entries."""
    bytes_ = sorted(ByteLevel.alphabet())
    vocabulary = {
        text: row for row, text in enumerate([*bytes_, *(f"{n}" * 2 for n in range(NEOX_ROWS))][: NEOX_ROWS - 2])
    }
    special = [(NEOX_ROWS - 2, "<|endoftext|>"), (NEOX_ROWS - 1, "<|padding|>")]
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    value = {
        "version": "1.0",
        "added_tokens": [{"id": row, "content": text, **entry} for row, text in special],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    folder = cache / "models--EleutherAI--gpt-neox-20b"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc" / "tokenizer.json").write_text(json.dumps(value))
    names = {f"{kind}_token": "<|endoftext|>" for kind in ("bos", "eos")}
    (folder / "snapshots" / "abc" / "tokenizer_config.json").write_text(json.dumps(names))


@pytest.fixture
def tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The stand-in's name."""
    write_stand_in(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return "hf:EleutherAI/gpt-neox-20b"


@pytest.mark.parametrize(
    ("name", "tokens", "epochs", "steps"),
    [("coder-1.7b", 10**10, 150, 2_861_023), ("1b", 10**9, 480, 915_527)],
)
def test_a_recipe_has_the_hyperparameters_of_its_source(name: str, tokens: int, epochs: int, steps: int) -> None:
    """Without its tokenizer: loading a study needs no network."""
    study = load_study(str(RECIPES / f"{name}.yaml"))
    cell, training = study.cells[0], study.training
    assert (cell.unique_tokens, cell.model, training.epochs) == (tokens, name, epochs)
    assert training.batch_size * study.data.sequence_length == 524_288
    assert (study.data.packing, study.data.tokenizer) == ("stream", "hf:EleutherAI/gpt-neox-20b")
    assert study.total_steps(cell) == steps
    path = run_schedule(training, study.evaluation_steps(cell))
    branch = (path.branch_starts[steps], steps)
    assert branch == (steps - 1000, steps)
    rates = [learning_rate(training, step, steps) for step in (999, 1999, 2000, steps - 1001)]
    assert rates == pytest.approx([1e-4, 2e-4, 2e-4, 2e-4])
    decayed = [learning_rate(training, steps - 1001 + n, steps, branch) for n in (1, 500, 1000)]
    assert decayed == pytest.approx([2e-4 * 0.1**0.001, 2e-4 * 0.1**0.5, 2e-5])


@pytest.mark.parametrize("name", ["coder-1.7b", "1b"])
def test_the_plan_is_the_one_of_the_page(
    name: str, tokenizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vocabulary_rows(tokenizer) == NEOX_ROWS + 1
    monkeypatch.setenv("CROSSOVER_HOME", str(tmp_path))
    monkeypatch.setenv("CROSSOVER_PEAK_TFLOPS", "989")
    get_settings.cache_clear()
    study = str(RECIPES / f"{name}.yaml")
    assert main(["plan", study, "--no-measure", "--processes", "8"]) == 0
    printed = capsys.readouterr().out
    assert f"u{10 ** (10 if name == 'coder-1.7b' else 9)}-{name}/dlm" in printed
    assert printed in PAGE.read_text("utf-8")
