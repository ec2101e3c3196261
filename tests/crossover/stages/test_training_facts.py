"""What a report says of the training is what the study asked for."""

from __future__ import annotations

import pytest

from crossover.stages.study_report import _training_facts
from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig


def facts(arms: tuple[str, ...] = ("ar", "dlm"), **training: object) -> dict[str, str]:
    config = TrainingConfig.model_validate({"learning_rate": 0.002, "warmup_steps": 7, **training})
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
    text = facts(**training)["Optimizer"]
    for part in expected:
        assert part in text
    for part in absent:
        assert part not in text


def test_losses_are_those_of_the_families_that_were_trained() -> None:
    assert {label.partition(" ")[0] for label in facts(("ar", "ar-decay")) if " loss in " in label} == {"AR"}
    assert {label.partition(" ")[0] for label in facts() if " loss in " in label} == {"AR", "DLM"}
