"""Bad curves given to `analyse`: a stated reason and `insufficient evidence`, or an error that names the column."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from crossover.analysis import AnalysisPlan, MetricPlan, analyse
from crossover.errors import CurvesError
from tests.crossover.analysis.analysis_curves import PLAN, TOKENS, Table, crossing_value, joined, noisy, only, table

PLAIN = noisy(lambda u: 0.2)
LATER = [10 * t + 1_000_000 for t in TOKENS]


def _error(curves: object, plan: AnalysisPlan = PLAN) -> CurvesError:
    with pytest.raises(CurvesError) as caught:
        analyse(curves, plan)
    assert caught.value.remedy
    return caught.value


OPEN: dict[str, tuple[Callable[[], Table], str]] = {
    "one seed": (lambda: table(PLAIN, seeds=[0]), "Only 1 complete seed pair, and a verdict needs 5"),
    "unpaired seeds": (
        lambda: joined(table(PLAIN, arms=["ar"], seeds=range(5)), table(PLAIN, arms=["dlm"], seeds=range(5, 10))),
        "No seed was run in both arms (ar has 0, 1, 2, 3, 4; dlm has 5, 6, 7, 8, 9)",
    ),
    "no overlap": (
        lambda: joined(table(PLAIN, arms=["ar"]), table(PLAIN, arms=["dlm"], tokens=LATER)),
        "share no range of tokens",
    ),
    "constant": (lambda: table(lambda arm, seed, u: 3.0), "never changes in any run"),
    "all NaN": (
        lambda: table(lambda arm, seed, u: math.nan if arm == "dlm" else PLAIN(arm, seed, u)),
        "Arm dlm has no usable point of Validation loss on tokens: every value is missing or not finite",
    ),
    "all infinite": (
        lambda: table(lambda arm, seed, u: math.inf if arm == "ar" else PLAIN(arm, seed, u)),
        "Arm ar has no usable point",
    ),
    "one checkpoint": (lambda: table(PLAIN, tokens=[10_000]), "share a single point"),
}


@pytest.mark.parametrize("name", OPEN)
def test_what_cannot_be_answered_says_why(name: str) -> None:
    make, reason = OPEN[name]
    verdict = analyse(make(), PLAN).headline
    assert verdict.outcome == "insufficient evidence"
    assert reason in verdict.reason


def test_points_without_a_value_are_counted() -> None:
    curves = table(crossing_value)
    curves["value"][3] = None
    curves["value"][4] = math.inf
    assert "Validation loss, arm ar: points left out: 2 not finite." in analyse(curves, PLAN).notes


def test_an_infinite_standard_error_is_refused_unless_its_value_is_infinite_too() -> None:
    curves = table(crossing_value, stderr=0.01, seeds=range(6))
    curves["stderr"][0] = math.inf
    error = _error(curves)
    assert (error.code, error.field) == ("curves.infinite", "stderr")
    curves["value"][0] = math.inf
    assert analyse(curves, PLAN).headline.outcome == "crossover"


def test_unknown_standard_errors_count_as_none() -> None:
    assert analyse(table(crossing_value, stderr=math.nan), PLAN) == analyse(table(crossing_value, stderr=0.0), PLAN)


def test_tokens_that_decrease_with_rising_step_are_superseded_points() -> None:
    curves = table(crossing_value)
    curves["step"] = [t // 1000 for t in curves["tokens"]]
    assert analyse(curves, PLAN) == analyse(table(crossing_value), PLAN)
    curves["step"][3] = 5000
    error = _error(curves)
    assert (error.code, error.field) == ("curves.decreasing", "step")
    assert "loss of arm 'ar', seed 0: tokens decrease with rising step" in error.problem


def test_a_step_column_of_another_length_is_refused() -> None:
    curves = table(crossing_value)
    curves["step"] = [1, 2, 3]
    assert (error := _error(curves)).field == "step" and "3 rows" in error.problem


def test_the_order_of_rows_is_of_no_account() -> None:
    curves = table(crossing_value)
    order = np.random.default_rng(0).permutation(len(curves["arm"]))
    shuffled = {name: [column[i] for i in order] for name, column in curves.items()}
    assert analyse(shuffled, PLAN) == analyse(curves, PLAN)


@pytest.mark.parametrize("column", ["tokens", "value", "seed"])
def test_huge_integers_are_no_traceback(column: str) -> None:
    curves = table(crossing_value)
    curves[column][0] = 10**400
    assert _error(curves).field == column


@pytest.mark.parametrize("seed", [2**60, 2.0**53])
def test_seeds_that_would_be_rounded_are_refused(seed: float) -> None:
    curves = table(crossing_value)
    curves["seed"][0] = seed
    error = _error(curves)
    assert error.field == "seed" and "below 2^53" in error.problem


def test_seeds_may_be_floats() -> None:
    curves = table(crossing_value)
    curves["seed"] = [float(seed) for seed in curves["seed"]]
    assert analyse(curves, PLAN) == analyse(table(crossing_value), PLAN)


def test_a_column_twice_is_refused() -> None:
    curves = table(crossing_value)
    twice = pa.table([pa.array(c) for c in (*curves.values(), curves["value"])], names=[*curves, "value"])
    error = _error(twice)
    assert (error.code, error.field) == ("curves.column-twice", "value")


def test_arrays_are_read_as_lists_are() -> None:
    curves = table(crossing_value)
    assert analyse({name: np.asarray(column) for name, column in curves.items()}, PLAN) == analyse(curves, PLAN)


def test_arms_may_have_any_name() -> None:
    names = {"ar": 'a, "b"', "dlm": "ü\n'c'"}
    curves = table(crossing_value)
    curves["arm"] = [names[arm] for arm in curves["arm"]]
    plan = PLAN.model_copy(update={"baseline": names["ar"], "candidate": names["dlm"]})
    assert analyse(curves, plan).headline.outcome == "crossover"


@pytest.mark.parametrize("direction", ["down", "", None])
def test_an_unknown_direction_is_refused(direction: str | None) -> None:
    with pytest.raises(ValueError, match="direction"):
        MetricPlan.model_validate({"name": "loss", "direction": direction, "delta": 0.02})


def test_a_direction_is_never_guessed() -> None:
    with pytest.raises(ValueError, match="direction"):
        MetricPlan.model_validate({"name": "loss", "delta": 0.02})


def test_an_arm_with_no_row_of_the_metric_says_so() -> None:
    curves = joined(table(PLAIN), table(PLAIN, metric="accuracy"))
    curves = only(curves, lambda row: (row["metric"], row["arm"]) != ("loss", "dlm"))
    verdict = analyse(curves, PLAN).headline
    assert verdict.outcome == "insufficient evidence"
    assert "Arm dlm has no usable point" in verdict.reason
