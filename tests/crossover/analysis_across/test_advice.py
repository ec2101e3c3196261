"""What to choose: read off a cell that was run, or off the forecast; never more than was tested."""

from __future__ import annotations

from typing import Any

import pytest

from crossover.analysis import analyse
from crossover.analysis.across.budget_advice import advise, advise_all
from crossover.analysis.across.crossing_regression import AnalysedCell
from tests.crossover.analysis_across.cells import PLAN, cell, columns

CELLS = [cell(u, 10**6, 6.0 * (u / 1e6) ** 0.9) for u in (10**6, 2 * 10**6, 4 * 10**6, 8 * 10**6)]


def flops(epochs: float, unique_tokens: int) -> float:
    return 6e6 * epochs * unique_tokens


def test_a_cell_that_was_run_answers_from_its_pairs() -> None:
    first = CELLS[:1]
    late = advise(first, unique_tokens=10**6, parameters=10**6)
    early = advise(first, unique_tokens=10**6, parameters=10**6, flops=flops(1.5, 10**6))
    assert (late.choose, early.choose) == ("candidate", "baseline")
    assert late.difference is not None
    assert late.difference == pytest.approx(-0.15 * 1.22, abs=0.03)
    assert late.interval is not None
    assert late.interval[0] < late.difference < late.interval[1] < 0
    assert late.comparison == "best-so-far"
    assert "5 seed pairs" in late.because
    assert "tuned AR arm" in late.cheapest
    assert "FLOPs" in late.cheapest
    assert "Another recipe" in early.cheapest, "longer runs cannot change what was measured at this budget"
    assert [a.choose for a in advise_all(first)] == ["candidate"]


def test_what_was_not_measured_is_not_said() -> None:
    beyond = advise(CELLS[:1], unique_tokens=10**6, parameters=10**6, flops=flops(500, 10**6))
    assert beyond.choose == "cannot say"
    assert "was not tested" in beyond.because
    assert "Runs of 3e+15 FLOPs, about 500 epochs: 5 seeds of both arms, 3e+16 FLOPs" in beyond.cheapest
    before = advise(CELLS[:1], unique_tokens=10**6, parameters=10**6, flops=flops(0.5, 10**6))
    assert "Earlier checkpoints" in before.cheapest
    few = advise([cell(10**6, 10**6, 6.0, pairs=3)], unique_tokens=10**6, parameters=10**6)
    assert few.choose == "cannot say"
    assert "needs 5 pairs" in few.because
    lone = advise(CELLS[:1], unique_tokens=5 * 10**6, parameters=10**6, flops=1e15)
    assert lone.choose == "cannot say"
    assert "cannot be forecast" in lone.because
    assert "no budget" in advise(CELLS, unique_tokens=5 * 10**6, parameters=10**6).because


def test_a_small_difference_is_either_and_an_unclear_one_asks_for_more() -> None:
    at_crossing = flops(6.0, 10**6)
    same = advise([cell(10**6, 10**6, 6.0, sd=0.001)], unique_tokens=10**6, parameters=10**6, flops=at_crossing)
    assert same.choose == "either"
    noisy = advise([cell(10**6, 10**6, 60.0, sd=0.3)], unique_tokens=10**6, parameters=10**6)
    assert noisy.choose == "cannot say"
    assert "which holds zero" in noisy.because
    assert "more" in noisy.cheapest


def test_a_cell_that_was_not_run_is_forecast() -> None:
    early, late, between = (
        advise(CELLS, unique_tokens=3 * 10**6, parameters=10**6, flops=flops(epochs, 3 * 10**6))
        for epochs in (1.0, 500.0, 6 * 3**0.9)
    )
    assert (early.choose, late.choose, between.choose) == ("baseline", "candidate", "cannot say")
    assert "was not run" in early.because
    assert "forecast at epoch" in early.because
    assert early.difference is None
    assert "Run this cell: 5 seeds of both arms, " in early.cheapest
    assert "smaller step" not in early.cheapest, "it is less than three times a cell that was run"


def test_an_experiment_has_its_hours_and_a_smaller_step() -> None:
    speed = 1e10  # FLOP/s

    def timed(one: AnalysedCell) -> AnalysedCell:
        facts, analysis = one
        figures = [
            figure.model_copy(
                update={
                    "axis": "seconds",
                    "seeds": [seed.model_copy(update={"x": [x / speed for x in seed.x]}) for seed in figure.seeds],
                }
            )
            for figure in analysis.figures
            if figure.axis == "flops"
        ]
        return facts, analysis.model_copy(update={"figures": (*analysis.figures, *figures)})

    requested: dict[str, Any] = {"unique_tokens": 10**9, "parameters": 10**6, "flops": flops(30, 10**9)}
    far = advise([timed(one) for one in CELLS], **requested)
    assert "both arms, 1.8e+18 FLOPs, about 50,000 h of training at the speed of these runs. " in far.cheapest
    step = "24,000,000 unique tokens, 1,000,000 parameters, 100 epochs, 1.44e+17 FLOPs, about 4,000 h"
    assert f"A smaller step towards it: {step}" in far.cheapest
    assert " h of training" not in advise(CELLS, **requested).cheapest, "these runs have no times"


@pytest.mark.parametrize(("gain", "choose"), [(0.0, "candidate"), (0.5, "baseline")])
def test_a_tuned_arm_must_be_beaten_too(gain: float, choose: str) -> None:
    table = columns(10**6, 10**6, 6.0)
    tuned = [i for i, arm in enumerate(table["arm"]) if arm == "ar"]
    for name, column in table.items():
        rows = [column[i] for i in tuned]
        if name == "value":
            rows = [float(str(value)) - gain for value in rows]
        table[name] = column + (["ar-dropout"] * len(tuned) if name == "arm" else rows)
    plan = PLAN.model_copy(update={"tuned": ("ar-dropout",)})
    facts, _ = cell(10**6, 10**6, 6.0)
    (found,) = advise_all([(facts, analyse(table, plan, unique_tokens=10**6))])
    assert found.choose == choose
    assert ("DLM − AR dropout" in found.because) == (choose == "baseline")
    assert "tuned AR arm" not in found.cheapest
