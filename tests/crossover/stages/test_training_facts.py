"""What a report says of the training is what the study asked for."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from crossover.data.dataset import Dataset
from crossover.settings import get_settings
from crossover.stages.evaluated_runs import EvaluatedRun
from crossover.stages.study_report import _references, _spent, _training_facts
from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.tokenization.tokenizer import BYTES, EOS


def facts(arms: tuple[str, ...] = ("ar", "dlm"), training: Mapping[str, object] | None = None) -> dict[str, str]:
    config = TrainingConfig.model_validate({"learning_rate": 0.002, "warmup_steps": 7, **(training or {})})
    study = StudyConfig().model_copy(update={"training": config, "arms": arms})
    return {fact.label: fact.value for fact in _training_facts(study)}


@pytest.mark.parametrize(
    ("training", "expected", "absent"),
    [
        ({}, ("AdamW (0.9, 0.95)", "rate 0.002 constant after 7 steps", "clip 1"), ("Muon", "cosine", "decay to")),
        ({"optimizer": "muon"}, ("Muon (momentum 0.95)", "AdamW (0.9, 0.95) for the rest"), ("cosine",)),
        (
            {"schedule": "wsd", "decay_fraction": 0.2, "final_rate": 0.1},
            ("constant after 7 steps", "linear decay to 10 % over the last 20 % of each budget"),
            ("cosine", "Muon"),
        ),
        ({"schedule": "cosine"}, ("cosine decay to 0 %", "7 steps"), ("constant", "Muon")),
    ],
)
def test_optimizer_and_schedule(
    training: dict[str, object], expected: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    text = facts(training=training)["Optimizer"]
    for part in expected:
        assert part in text
    for part in absent:
        assert part not in text


def test_values_without_training() -> None:
    """Two equally likely bytes are one bit; EOS is no byte; a long text of one pattern compresses to almost nothing."""
    rows = np.tile(np.array([97, 98], dtype=np.uint16), (64, 32))
    rows[:, -1] = EOS
    rows[:, -2] = EOS
    dataset = cast(Dataset, SimpleNamespace(validation=lambda: rows, tokenizer=BYTES))
    study = StudyConfig()
    unigram, compressed = (reference.value for reference in _references(study, dataset, ()))
    assert unigram == "1.000 bits/byte"
    assert 0 < float(compressed.split()[0]) < 0.3


def test_the_time_and_the_price_of_all_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = cast(list[EvaluatedRun], [(None, [SimpleNamespace(seconds=1.0), SimpleNamespace(seconds=5400.0)])] * 2)
    assert _spent(runs)[0].value == "3.00 h"
    monkeypatch.setenv("CROSSOVER_PRICE_PER_GPU_HOUR", "2.5")
    get_settings.cache_clear()
    assert _spent(runs)[0].value == "3.00 h, 7.50 at 2.5 an hour"


def test_losses_are_those_of_the_families_that_were_trained() -> None:
    assert {label.partition(" ")[0] for label in facts(("ar", "ar-decay")) if " loss in " in label} == {"AR"}
    assert {label.partition(" ")[0] for label in facts() if " loss in " in label} == {"AR", "DLM"}
