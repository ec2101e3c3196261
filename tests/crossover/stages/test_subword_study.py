"""The preset in subwords, from a corpus of real text to an analysis, with a small model and few steps."""

from __future__ import annotations

from pathlib import Path

from crossover.study.load_study import load_study
from tests.crossover.stages.trained_study import edited, run_stages

DOCS = Path(__file__).parents[3] / "docs"
SMALLER = {
    "grid": {"unique_tokens": [16_384], "models": ["pico"]},
    "seeds": 2,
    "training": {"epochs": 2, "batch_size": 8, "warmup_steps": 2},
    "evaluation": {"points": 2, "nelbo_draws": 2, "chain_rule_examples": 0, "cloze_items": 4, "cloze_draws": 2},
}


def test_the_preset_in_subwords_runs_to_an_analysis(tmp_path: Path) -> None:
    preset = load_study("30m-bpe")
    data = {"source": f"text:{DOCS}/**/*.md", "validation_fraction": 0.2, "validation_tokens": 4096}

    def smaller(raw: dict[str, dict[str, object]]) -> None:
        raw["data"] |= data
        raw["grid"] |= SMALLER["grid"]
        raw["seeds"] = [0, 1]
        raw["training"] |= SMALLER["training"]
        raw["evaluation"] |= SMALLER["evaluation"] | {"first_epoch": 1, "samples": 2, "passages": 2}

    study = edited(preset, smaller)
    assert (study.data.tokenizer, study.data.sequence_length) == ("bpe:8192", 256)
    analysis = run_stages(study, str(tmp_path / "ws"))
    assert set(analysis.best) == {"ar", "dlm"}
