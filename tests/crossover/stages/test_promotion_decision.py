"""Which checkpoint is served: every outcome, with and without tuned arms, for metrics of both directions."""

from __future__ import annotations

from typing import Literal

import pytest

from crossover.analysis import Analysis, AnalysisPlan, MetricPlan
from crossover.analysis.analysis_plan import Axis, Comparison
from crossover.analysis.analysis_result import Crossing, Direction, Outcome, Verdict
from crossover.evaluation.evaluation_records import Evaluation, Measurement
from crossover.stages.promotion_decision import PromotionDecision, decide_promotion
from crossover.stages.stage_manifests import CheckpointRef, RunRef
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig

CELL = "u10000-nano"
LATE_VALUES = {"ar": 3.0, "ar-dropout": 2.8, "dlm": 2.9}
"""The best value of each arm at step 20, seed 1; all others are worse."""


def study_of(tuned: tuple[str, ...] = (), direction: Literal["lower", "higher"] = "lower") -> StudyConfig:
    metric = MetricPlan(name="validation_bpb", direction=direction, delta=0.02)
    return StudyConfig.model_validate(
        {
            "name": "s",
            "grid": {"unique_tokens": [10000], "models": ["nano"]},
            "arms": ("ar", "ar-dropout", "dlm"),
            "analysis": AnalysisPlan(metrics=(metric,), axes=("epochs", "flops"), tuned=tuned),
        }
    )


def runs_of(study: StudyConfig) -> list[tuple[RunRef, list[Evaluation]]]:
    sign = 1.0 if study.analysis.metrics[0].direction == "lower" else -1.0
    runs = []
    for arm, best in LATE_VALUES.items():
        for seed in (0, 1):
            steps = (10, 20, 30)
            points = tuple(CheckpointRef(step=step, uri=f"s{step}", digest="d") for step in steps)
            values = [best + 0.5 * (step != 20) + 0.1 * (seed == 0) for step in steps]
            results = [evaluation(step, sign * value) for step, value in zip(steps, values, strict=True)]
            runs.append((RunRef(id=RunId(CELL, arm, seed), digest=f"{arm}-{seed}", checkpoints=points), results))
    return runs


def evaluation(step: int, value: float) -> Evaluation:
    common = {"stderr": None, "unit": "bits/byte", "direction": "lower", "estimator": "e", "draws": 1}
    measured = tuple(Measurement(metric=name, value=v, **common) for name, v in (("validation_bpb", value), ("x", -99)))
    return Evaluation(checkpoint="d", step=step, tokens=step, flops=1.0, seconds=1.0, measurements=measured, items=())


def verdict(
    outcome: Outcome,
    *,
    baseline: str = "ar",
    axis: Axis = "epochs",
    comparison: Comparison = "best-so-far",
    direction: Direction = "baseline→candidate",
) -> Verdict:
    crossing = Crossing(direction=direction, at=3.0, low=2.0, high=4.0, bracket=(2.0, 4.0), per_seed=())
    return Verdict(
        metric="validation_bpb",
        axis=axis,
        comparison=comparison,
        baseline=baseline,
        candidate="dlm",
        outcome=outcome,
        reason="",
        pairs=5,
        p_crossover=None,
        p_adjusted=None,
        early=None,
        late=None,
        crossing=crossing if outcome == "crossover" else None,
        further_pairs=None,
        sign_changes=0,
    )


def decision(study: StudyConfig, *verdicts: Verdict, promotion: str = "verdict") -> PromotionDecision:
    analysis = Analysis(
        method="m", plan=study.analysis, seeds=(0, 1), verdicts=verdicts, figures=(), summaries=(), notes=()
    )
    return decide_promotion(study, runs_of(study), {CELL: analysis}, promotion=promotion)


@pytest.mark.parametrize("direction", ["lower", "higher"])
@pytest.mark.parametrize(
    ("given", "served"),
    [
        (verdict("baseline"), "ar"),
        (verdict("candidate"), "dlm"),
        (verdict("crossover"), "dlm"),
        (verdict("crossover", direction="candidate→baseline"), "ar"),
        (verdict("equivalent"), "dlm"),
    ],
)
def test_without_tuned_arms_the_verdict_names_the_arm(
    given: Verdict, served: str, direction: Literal["lower", "higher"]
) -> None:
    found = decision(study_of(direction=direction), given)
    assert (found.promote, found.winner.run, found.winner.checkpoint.step) == (True, RunId(CELL, served, 1), 20)
    assert found.verdict == given
    assert set(found.best) == set(LATE_VALUES)


@pytest.mark.parametrize(
    ("outcome", "direction", "served"),
    [
        ("baseline", "baseline→candidate", "ar-dropout"),
        ("candidate", "baseline→candidate", "dlm"),
        ("crossover", "baseline→candidate", "dlm"),
        ("crossover", "candidate→baseline", "ar-dropout"),
        ("equivalent", "baseline→candidate", "ar-dropout"),
    ],
)
def test_the_verdict_against_the_tuned_arms_decides_and_a_tuned_arm_can_be_served(
    outcome: Outcome, direction: Direction, served: str
) -> None:
    default, tuned = verdict("candidate"), verdict(outcome, baseline="tuned-ar", direction=direction)
    found = decision(study_of(("ar-dropout",)), default, tuned)
    assert (found.promote, found.winner.run.arm, found.verdict) == (True, served, tuned)
    assert "DLM against tuned AR on validation_bpb" in found.reason


def test_early_stopping_and_the_first_axis_decide() -> None:
    early = verdict("baseline")
    others = (verdict("candidate", comparison="matched"), verdict("candidate", axis="flops"))
    assert decision(study_of(), *others, early).verdict == early
    assert decision(study_of(), *others).verdict == others[0]


@pytest.mark.parametrize(("promotion", "promote"), [("verdict", False), ("always", True), ("never", False)])
def test_insufficient_evidence_is_held_unless_promotion_is_always(promotion: str, promote: bool) -> None:
    open_verdict = verdict("insufficient evidence", baseline="tuned-ar")
    found = decision(study_of(("ar-dropout",)), verdict("candidate"), open_verdict, promotion=promotion)
    assert (found.promote, found.winner.run.arm) == (promote, "ar-dropout")
    assert decision(study_of(), verdict("insufficient evidence"), promotion=promotion).winner.run.arm == "dlm"


def test_a_settled_verdict_is_held_when_promotion_is_never() -> None:
    assert not decision(study_of(), verdict("candidate"), promotion="never").promote
