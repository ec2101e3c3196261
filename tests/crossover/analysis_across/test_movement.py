"""How the crossing moves: planted slopes, censored cells, published readings, forecasts that hold."""

from __future__ import annotations

import numpy as np
import pytest

from crossover.analysis.across.cross_cell_result import CellCrossing, CellFacts, Movement
from crossover.analysis.across.crossing_regression import fit_crossings, fit_movement, fit_movements
from tests.crossover.analysis_across.cells import LOSS, cell

GRID = tuple((u, n) for u in (1_000_000, 2_000_000, 4_000_000) for n in (1_000_000, 4_000_000))


def planted(u: int, n: int) -> float:
    return float(6 * (u / 1e6) ** 0.9 * (n / 1e6) ** -0.4)


def crossing(u: float, n: float, at: float, *, stderr: float = 0.1, beyond: float | None = None) -> CellCrossing:
    facts = CellFacts(cell=f"u{u:g}-n{n:g}", unique_tokens=int(u), parameters=int(n))
    if beyond is not None:
        return CellCrossing(facts=facts, at=None, low=None, high=None, beyond=beyond, outcome="baseline")
    return CellCrossing(facts=facts, at=at, low=None, high=None, stderr=stderr, outcome="crossover")


def test_planted_slopes_are_recovered_from_analysed_cells() -> None:
    new = CellFacts(cell="new", unique_tokens=8_000_000, parameters=1_000_000)
    cells = [cell(u, n, planted(u, n)) for u, n in GRID]
    found = fit_movement(cells, LOSS, "epochs", "matched", forecasts=[new])
    slopes = {slope.predictor: slope for slope in found.slopes}
    assert slopes["log unique tokens"].low < 0.9 < slopes["log unique tokens"].high
    assert slopes["log parameters"].low < -0.4 < slopes["log parameters"].high
    assert slopes["log unique tokens"].p < 0.01
    (forecast,) = found.forecasts
    assert forecast.low < planted(8_000_000, 1_000_000) < forecast.high
    assert forecast.extrapolated
    assert "6 crossings" in found.reason
    assert [(m.axis, m.comparison) for m in fit_movements(cells)] == [
        ("epochs", "matched"),
        ("flops", "matched"),
        ("epochs", "best-so-far"),
        ("flops", "best-so-far"),
    ]


def test_cells_that_do_not_cross_pull_the_slope_their_way() -> None:
    """Without the two largest budgets the slope is the same; they cannot be had, but are known to be beyond."""
    cells = [crossing(u, 1e6, planted(int(u), 10**6)) for u in (1e6, 2e6, 4e6, 8e6)]
    plain = fit_crossings([*cells, *(crossing(u, 1e6, 0, beyond=1.0) for u in (16e6, 32e6))], alpha=0.05)
    pulled = fit_crossings([*cells, *(crossing(u, 1e6, 0, beyond=400.0) for u in (16e6, 32e6))], alpha=0.05)
    assert plain is not None
    assert pulled is not None
    assert plain.slopes()[0].estimate == pytest.approx(0.9, abs=0.05)
    assert pulled.slopes()[0].estimate > plain.slopes()[0].estimate + 0.05


def test_published_readings_have_the_published_signs() -> None:
    """Ni et al. (arXiv 2511.03276), read off their figures: crossings in epochs of validation loss and of HellaSwag."""
    loss = [(0.5e9, 1e9, 6.5), (1e9, 1e9, 14.5), (1.5e9, 1e9, 26), (1e9, 2e9, 8), (1e9, 4e9, 7), (1e9, 8e9, 6)]
    hellaswag = [(0.5e9, 1e9, 35), (1e9, 1e9, 43), (1.5e9, 1e9, 59), (1e9, 2e9, 21), (1e9, 4e9, 21), (1e9, 8e9, 17)]
    for readings in (loss, hellaswag):
        fit = fit_crossings([crossing(u, n, at, stderr=0.15) for u, n, at in readings], alpha=0.05)
        assert fit is not None
        tokens, parameters = fit.slopes()
        assert (tokens.predictor, parameters.predictor) == ("log unique tokens", "log parameters")
        assert tokens.estimate > 0 > parameters.estimate


def test_too_few_crossings_say_how_many_are_needed() -> None:
    found = fit_movement(
        [cell(u, 1_000_000, at) for u, at in ((10**6, 5.0), (2 * 10**6, 9.0))], LOSS, "epochs", "matched"
    )
    assert found.slopes == ()
    assert found.spread is None
    assert "2 of 2 cells cross, and a slope needs 3" in found.reason
    assert fit_movements([cell(10**6, 10**6, 5.0)]) == ()
    assert isinstance(Movement.model_validate_json(found.model_dump_json()), Movement)


def test_predictors_that_cannot_be_told_apart_are_named() -> None:
    """Tokens and parameters grow together: one slope, and the other is said to be missing."""
    found = fit_movement(
        [cell(n, n, 4.0 + n / 1e6) for n in (10**6, 2 * 10**6, 4 * 10**6, 8 * 10**6)], LOSS, "epochs", "matched"
    )
    assert [s.predictor for s in found.slopes] == ["log unique tokens"]
    assert "too few cells for log parameters" in found.reason


@pytest.mark.parametrize("beyond", [None, 40.0])
def test_forecasts_hold_what_they_state(beyond: float | None) -> None:
    """95 % prediction intervals hold 90 to 100 % of new cells, with and without censored ones."""
    rng, held = np.random.default_rng(3), 0
    new, repeats = CellFacts(cell="new", unique_tokens=8_000_000, parameters=1_000_000), 120
    for _ in range(repeats):
        cells = []
        for u in (5e5, 1e6, 2e6, 4e6):
            for n in (1e6, 4e6):
                true = planted(int(u), int(n)) * np.exp(0.15 * rng.normal())
                censored = beyond is not None and true > beyond / 4
                seen = true * np.exp(0.1 * rng.normal())
                cells.append(crossing(u, n, float(seen), beyond=(beyond or 0) / 4 if censored else None))
        fit = fit_crossings(cells, alpha=0.05)
        assert fit is not None
        forecast = fit.forecast(new)
        held += forecast.low < planted(8_000_000, 1_000_000) * np.exp(0.15 * rng.normal()) < forecast.high
    assert 0.90 <= held / repeats <= 1.0


def test_cells_without_any_verdict_move_nothing_and_say_so() -> None:
    cells = [cell(tokens, 10**6, crossing=9.0, pairs=2) for tokens in (1000, 2000)]
    found = fit_movement(cells, LOSS, "epochs", "matched")
    assert found.slopes == ()
    assert "0 of 2 cells" in found.reason or "do not differ" in found.reason
    assert "evidence is insufficient" in found.reason
