"""Malformed curves are refused with the column and the remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crossover.analysis import analyse
from crossover.errors import CurvesError
from tests.crossover.analysis.analysis_curves import PLAN, Table, crossing_value, table

Spoil = Callable[[Table], object]


def _set(column: str, row: int, value: object) -> Spoil:
    def spoil(curves: Table) -> None:
        curves[column][row] = value

    return spoil


def _empty(curves: Table) -> None:
    for column in curves.values():
        column.clear()


CASES: list[tuple[str, str, Spoil]] = [
    ("column-missing", "value", lambda c: c.pop("value")),
    ("column-missing", "seconds", lambda c: c.pop("seconds")),
    ("duplicate", "tokens", _set("tokens", 1, 10_000)),
    ("decreasing", "seconds", _set("seconds", 5, 1e9)),
    ("decreasing", "flops", _set("flops", 5, 1.0)),
    ("negative", "tokens", _set("tokens", 0, -1)),
    ("negative", "stderr", _set("stderr", 0, -0.1)),
    ("no-tokens", "tokens", _set("tokens", 0, float("nan"))),
    ("not-a-number", "value", _set("value", 0, "three")),
    ("not-text", "arm", _set("arm", 0, 3)),
    ("bad-seed", "seed", _set("seed", 0, 0.5)),
    ("bad-seed", "seed", _set("seed", 0, float("nan"))),
    ("ragged", "value", lambda c: c["value"].pop()),
    ("empty", "curves", _empty),
]


@pytest.mark.parametrize(("code", "field", "spoil"), CASES)
def test_malformed_input_names_the_column(code: str, field: str, spoil: Spoil) -> None:
    curves = table(crossing_value)
    spoil(curves)
    plan = PLAN.model_copy(update={"axes": ("tokens", "flops", "seconds")})
    with pytest.raises(CurvesError) as caught:
        analyse(curves, plan)
    assert (caught.value.code, caught.value.field) == (f"curves.{code}", field)
    assert caught.value.remedy


@pytest.mark.parametrize("role", ["baseline", "candidate"])
def test_an_unknown_arm_lists_the_known_ones(role: str) -> None:
    plan = PLAN.model_copy(update={role: "gpt"})
    with pytest.raises(CurvesError, match=r"plan's " + role + r" 'gpt' has no rows; the arms are \['ar', 'dlm'\]"):
        analyse(table(crossing_value), plan)


def test_a_metric_without_rows_is_refused() -> None:
    with pytest.raises(CurvesError, match=r"'loss' has no rows; the metrics are \['nelbo'\]"):
        analyse(table(crossing_value, metric="nelbo"), PLAN)


@pytest.mark.parametrize("unique_tokens", [None, 0])
def test_epochs_need_their_length(unique_tokens: int | None) -> None:
    plan = PLAN.model_copy(update={"axes": ("epochs",)})
    with pytest.raises(CurvesError) as caught:
        analyse(table(crossing_value), plan, unique_tokens=unique_tokens)
    assert caught.value.field == "unique_tokens"


@pytest.mark.parametrize("curves", ["a.csv", 3, None])
def test_what_is_no_table_is_refused(curves: object) -> None:
    with pytest.raises(CurvesError, match="dict of columns"):
        analyse(curves, PLAN)


def test_a_table_within_a_column_is_refused() -> None:
    curves = table(crossing_value)
    curves["value"] = [[v, v] for v in curves["value"]]
    with pytest.raises(CurvesError, match="dimensions"):
        analyse(curves, PLAN)
