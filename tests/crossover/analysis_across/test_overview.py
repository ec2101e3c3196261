"""One call over a study's cells: movement with forecasts ahead, advice for each cell, what comes next."""

from __future__ import annotations

import pytest

from crossover.analysis.across import study_overview
from crossover.analysis.across.cross_cell_result import NextRun
from crossover.analysis.across.scaling_law_fits import KINDS
from crossover.analysis.across.study_overview import AHEAD, CellInput, overview
from tests.crossover.analysis_across.cells import PLAN, cell, columns

BUDGETS = (10_000, 20_000, 40_000)


@pytest.fixture
def no_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """No scaling laws, whose fits are nearly all of the time, for tests of other parts."""
    monkeypatch.setattr(study_overview, "fit_laws", lambda *_, **__: ())


def cells(models: tuple[int, ...] = (1_000_000,)) -> list[CellInput]:
    found = []
    for tokens in BUDGETS:
        for n in models:
            facts, analysis = cell(tokens, n, crossing=0.001 * tokens)
            found.append(CellInput(facts, columns(tokens, n, 0.001 * tokens), analysis, tokens))
    return found


def test_every_part_is_there_for_several_cells() -> None:
    run = NextRun(cell="u10000", arm="ar", seed=5, cost=1.0, gain=0.1, reason="open")
    found = overview(cells(), PLAN, next_runs=[run])
    assert [facts.unique_tokens for facts in found.cells] == list(BUDGETS)
    assert {(m.axis, m.comparison) for m in found.movements} == {
        (axis, comparison) for axis in PLAN.axes for comparison in PLAN.comparisons
    }
    assert [advice.unique_tokens for advice in found.advice] == list(BUDGETS)
    assert found.next_runs == (run,)
    assert {(law.arm, law.form) for law in found.laws} == {(arm, form) for arm in ("ar", "dlm") for form in KINDS}
    assert all(law.constants or law.reason.startswith("Not identified by these cells") for law in found.laws)


@pytest.mark.usefixtures("no_laws")
def test_forecasts_reach_twice_the_largest_budget() -> None:
    movement = overview(cells(), PLAN).movements[0]
    ahead = [forecast.facts.unique_tokens for forecast in movement.forecasts]
    assert ahead[0] == BUDGETS[0] and ahead[-1] == AHEAD * BUDGETS[-1]
    assert movement.forecasts[-1].extrapolated and not movement.forecasts[0].extrapolated


@pytest.mark.usefixtures("no_laws")
def test_several_models_are_forecast_to_twice_the_largest() -> None:
    movement = overview(cells((1_000_000, 2_000_000)), PLAN).movements[0]
    assert {forecast.facts.parameters for forecast in movement.forecasts} == {1_000_000, 2_000_000, 4_000_000}


@pytest.mark.usefixtures("no_laws")
def test_one_cell_has_advice_and_no_movement() -> None:
    found = overview(cells()[:1], PLAN)
    assert found.movements == ()
    assert len(found.advice) == 1
