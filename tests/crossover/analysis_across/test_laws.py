"""Laws of the data-constrained regime: planted constants come back, the right form wins, odd data are told."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import special

from benchmarks.simulations.simulated_laws import EPOCHS, GRID, PLANTED, planted
from crossover.analysis.across import scaling_law_fits
from crossover.analysis.across.cross_cell_result import LawFit, LawForm
from crossover.analysis.across.scaling_law_fits import KINDS, LawInput, fit_laws
from crossover.analysis.across.scaling_law_forms import Points, form_of, not_identified
from crossover.analysis.curves import Curve
from crossover.report.published_laws import PUBLISHED_LAWS


@cache
def fitted(kind: LawForm) -> dict[str, LawFit]:
    cells, _ = planted(kind)
    return {fit.form: fit for fit in fit_laws(cells, ["ar"], draws=30)}


@pytest.mark.parametrize("kind", KINDS)
def test_planted_constants_lie_in_their_intervals(kind: LawForm) -> None:
    fit = fitted(kind)[kind]
    assert {c.name for c in fit.constants} == set(PLANTED[kind])
    for constant in fit.constants:
        assert constant.low is not None and constant.high is not None
        assert constant.low < constant.value < constant.high
        assert constant.value == pytest.approx(PLANTED[kind][constant.name], rel=0.35), constant.name
    inside = [
        c for c in fit.constants if c.low is not None and c.high is not None and c.low < PLANTED[kind][c.name] < c.high
    ]
    assert len(inside) >= len(fit.constants) - 1
    assert fit.error is not None and fit.error < 0.006


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_that_was_planted_wins_on_cells_left_out(kind: LawForm) -> None:
    found = fitted(kind)
    assert [form for form, fit in found.items() if fit.best] == [kind]
    assert "each cell in turn" in found[kind].reason


def test_a_monotone_law_cannot_bend_and_a_bending_one_can() -> None:
    """At the end of the longest runs the planted bending loss rises again: only one form follows."""
    found = fitted("bending")
    errors = {form: fit.error for form, fit in found.items()}
    assert errors["monotone"] is not None and errors["bending"] is not None
    assert errors["monotone"] > 3 * errors["bending"]


@pytest.mark.parametrize(
    ("grid", "left_out"),
    [(tuple((n, u) for n, u in GRID if n == 1e6), "one model size"), (GRID[:1], "one budget of unique tokens")],
)
def test_what_runs_cannot_tell_apart_is_left_out_and_said(grid: tuple[tuple[float, float], ...], left_out: str) -> None:
    cells, _ = planted("bending", grid=grid)
    found = {fit.form: fit for fit in fit_laws(cells, ["ar"], draws=5)}
    assert left_out in found["bending"].reason
    assert "A" not in {c.name for c in found["monotone"].constants}
    assert found["bending"].error is not None and found["bending"].error < 0.006
    if len(grid) == 1:
        assert "epochs beyond" in found["bending"].reason


def test_fits_are_deterministic() -> None:
    cells, _ = planted("monotone", grid=GRID[:3], pairs=2)
    assert fit_laws(cells, ["ar"], draws=5) == fit_laws(cells, ["ar"], draws=5)


def test_odd_points_are_left_out_and_counted() -> None:
    cells, _ = planted("monotone", grid=GRID[:3], pairs=2)
    odd = Curve(EPOCHS[:4] * 1e6, np.array([np.nan, np.inf, -1.0, 0.0]), np.full(4, np.nan))
    spoilt = [LawInput(cells[0].facts, {"ar": [*cells[0].curves["ar"], odd]}), *cells[1:]]
    clean, found = (fit_laws(given, ["ar"], draws=3)[0] for given in (cells, spoilt))
    assert "4 points without a positive finite loss are left out" in found.reason
    assert [c.value for c in found.constants] == [c.value for c in clean.constants]


def test_of_a_long_run_a_few_points_are_enough() -> None:
    cells, _ = planted("monotone", grid=GRID[:1], pairs=1)
    tokens = 1e4 * np.arange(1, 20_001, dtype=np.float64)
    value = 2 + 3 * (tokens / 1e6) ** -0.3
    long = LawInput(cells[0].facts, {"ar": [Curve(tokens, value, np.full(tokens.size, np.nan))]})
    fit = fit_laws([long], ["ar"], draws=0)[0]
    assert 15 <= fit.points <= 24
    assert fit.error is not None and fit.error < 0.01


def test_too_little_is_told_and_not_fitted() -> None:
    cells, _ = planted("monotone", grid=GRID[:1], pairs=1)
    few = [LawInput(cells[0].facts, {"ar": [Curve(EPOCHS[:3] * 1e6, np.ones(3), np.ones(3))]})]
    once = [LawInput(cells[0].facts, {"ar": [Curve(np.linspace(1e4, 1e6, 30), np.linspace(4, 3, 30), np.ones(30))]})]
    for given, reason in ((few, "are needed"), (once, "no run repeats its data"), ([], "are needed")):
        for fit in fit_laws(given, ["ar"]):
            assert fit.constants == () and not fit.best
            assert reason in fit.reason
    alone = fit_laws(cells, ["ar"], draws=3)[0]
    assert all(c.low is None for c in alone.constants), "one run has no spread"
    assert "no intervals, for a cell has a single run" in alone.reason and "bootstrap" not in alone.reason


def test_a_decay_that_the_runs_do_not_show_has_no_constant() -> None:
    curve = Curve(EPOCHS * 1e6, 2 + 3 * EPOCHS**-0.5, np.full(EPOCHS.size, np.nan))
    cells, _ = planted("monotone", grid=GRID[:1], pairs=1)
    for fit in fit_laws([LawInput(cells[0].facts, {"ar": [curve, curve]})], ["ar"], draws=3):
        assert not {"R_D*", "e_p", "γ"} & {c.name for c in fit.constants}
        assert "cannot be told" in fit.reason
        assert fit.error is not None and fit.error < 1e-3


def test_published_constants_are_labelled() -> None:
    assert {reference.kind for reference in PUBLISHED_LAWS} == set(KINDS)
    for reference in PUBLISHED_LAWS:
        assert reference.sentence().startswith("Published, for reference only")
        assert "arXiv" in reference.sentence()


def test_few_seeds_widen_the_intervals_by_what_drawing_anew_among_them_lacks() -> None:
    """Of two runs a cell a bootstrap shows half of the variance."""
    form = form_of("monotone", Points(np.ones(2), np.ones(2), np.arange(1.0, 3.0)))
    drawn_BK = np.random.default_rng(0).normal(size=(4000, len(form.names)))
    theta = np.zeros(len(form.names))
    for runs, degrees, lacking in ((10, 5, 2.0), (50, 40, 1.25)):
        constant = scaling_law_fits._constants(form, theta, drawn_BK, runs, degrees, 0.05)[0]
        assert constant.high is not None
        half = float(np.log(constant.high))
        assert half == pytest.approx(float(special.stdtrit(degrees, 0.975)) * np.sqrt(lacking), rel=0.05)


def test_a_start_that_begins_well_may_end_badly() -> None:
    """These runs led the bending form astray while only the best beginning was followed."""
    cells, _ = planted("monotone", seed=0)
    monotone, bending = fit_laws(cells, ["ar"], draws=0)
    assert monotone.error is not None and bending.error is not None
    assert bending.error < 2 * monotone.error


def test_draws_of_noisy_runs_are_followed_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws that are cut off stay near the fit, and the intervals come out too narrow."""
    cells, _ = planted("bending", seed=5002, sd=0.02)
    data = scaling_law_fits._data(cells, "ar")
    form = form_of("bending", data.at)
    theta = scaling_law_fits._solve(form, data, scaling_law_fits._starts(form, data))
    spread_K = scaling_law_fits._bootstrap(form, theta, data, 8).std(axis=0)
    monkeypatch.setattr(scaling_law_fits, "_WARM", 1000)
    np.testing.assert_allclose(spread_K, scaling_law_fits._bootstrap(form, theta, data, 8).std(axis=0), rtol=0.05)


@pytest.mark.parametrize(("level", "named"), [(0.0, "E"), (2.0, "R_D*")])
def test_a_law_whose_constants_these_cells_do_not_tell_is_not_shown_as_fitted(level: float, named: str) -> None:
    """A loss that falls without a floor, or jumps to it: the fit runs to the ends of what a float holds."""
    value = level + (3 * EPOCHS**-0.5 if not level else 3 * np.exp(-40 * EPOCHS))
    curve = Curve(EPOCHS * 1e6, value, np.full(EPOCHS.size, np.nan))
    cells, _ = planted("monotone", grid=GRID[:1], pairs=1)
    fit = fit_laws([LawInput(cells[0].facts, {"ar": [curve, curve]})], ["ar"], draws=3)[0]
    assert fit.constants == ()
    assert not fit.best
    assert fit.reason.startswith("Not identified by these cells: ")
    assert f"{named} = " in fit.reason
    assert fit.reason.endswith("would tell.")


def test_constants_at_the_ends_of_a_float_are_not_identified() -> None:
    assert not_identified({"E": 5e-131, "α": 0.3}) == (
        "Not identified by these cells: E = 5e-131; larger models and budgets, whose loss comes nearer to its floor "
        "would tell."
    )
    assert "A = 2e+130; models of more different sizes" in not_identified({"A": 2e130})
    for kind in KINDS:
        assert not not_identified(PLANTED[kind])
