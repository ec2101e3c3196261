"""Alpha spending: published boundaries, and the size of repeated looks at small numbers of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from benchmarks.simulations.simulated_curves import SCENARIOS, study_table
from benchmarks.simulations.simulated_rounds import judge
from crossover.analysis import AnalysisPlan, MetricPlan, analyse
from crossover.analysis.analysis_plan import Multiplicity, Spending
from crossover.analysis.inference.alpha_spending import nominal_alpha, spent
from tests.crossover.analysis.analysis_curves import LOSS
from tests.crossover.analysis_across.growing import PLAN as GROWING
from tests.crossover.analysis_across.growing import exact_pairs

FIFTHS = (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        ("obrien-fleming", (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        ("pocock", (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)),
    ],
)
def test_boundaries_are_those_of_lan_and_demets(spending: Spending, published: tuple[float, ...]) -> None:
    """Table 2 of Reboussin, DeMets, Kim & Lan (2000), two-sided 0.05, five even looks."""
    levels = [nominal_alpha(FIFTHS, n, 0.05, spending=spending) for n in FIFTHS]
    assert [-special.ndtri(level / 2) for level in levels if level] == pytest.approx(published, abs=2e-4)


def test_between_looks_nothing_is_tested_and_after_the_last_its_level_stays() -> None:
    last = nominal_alpha((5, 8, 12), 12, 0.05)
    assert nominal_alpha((), 7, 0.05) == 0.05
    assert nominal_alpha((5, 8, 12), 7, 0.05) is None
    assert nominal_alpha((5, 8, 12), 3, 0.05) is None
    assert nominal_alpha((5, 8, 12), 30, 0.05) == last is not None


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
def test_all_of_alpha_is_spent_at_the_end(spending: Spending) -> None:
    assert spent(1.0, 0.05, spending) == pytest.approx(0.05)
    assert nominal_alpha((6,), 6, 0.05, spending=spending) == pytest.approx(0.05)


def test_looking_three_times_keeps_the_size() -> None:
    """t tests at the nominal levels reject a true null in at most 5 % of studies; at 0.05 each in far more."""
    looks, rng = (5, 8, 12), np.random.default_rng(3)
    value_RS = rng.normal(size=(20_000, looks[-1]))
    honest, naive = np.zeros(20_000, dtype=bool), np.zeros(20_000, dtype=bool)
    for n in looks:
        part_RS = value_RS[:, :n]
        t_R = part_RS.mean(axis=1) / part_RS.std(axis=1, ddof=1) * np.sqrt(n)
        p_R = 2 * special.stdtr(n - 1, -np.abs(t_R))
        honest |= p_R <= (nominal_alpha(looks, n, 0.05) or 0.0)
        naive |= p_R <= 0.05
    assert honest.mean() == pytest.approx(0.05, abs=0.006)
    assert naive.mean() > 0.09


@pytest.mark.parametrize(("looks", "alpha"), [((5, 100), 0.05), ((5, 60), 0.01), ((5, 500), 0.05)])
def test_a_look_with_hardly_any_share_tests_nothing_and_is_no_error(looks: tuple[int, int], alpha: float) -> None:
    first, last = (nominal_alpha(looks, n, alpha, spending="obrien-fleming") for n in looks)
    assert first is not None and last is not None
    assert 0 <= first < 1e-9
    assert last == pytest.approx(alpha, rel=1e-3)


@pytest.mark.parametrize(
    ("early", "late", "outcome", "phrase"),
    [
        (0.0277, -0.1, "candidate", "early the difference is not clear of zero"),
        (0.0, -0.0277, "insufficient evidence", "not clear of zero at the level of this look, nor"),
    ],
)
def test_the_reason_uses_the_level_of_the_look(early: float, late: float, outcome: str, phrase: str) -> None:
    # both p values lie between the level of the look at 5 pairs (0.027) and the plan's (0.05)
    judged = judge(exact_pairs(early, late, 0.02, straight=False), GROWING)
    assert judged.outcome == outcome
    assert phrase in judged.reason
    assert "tested at 0.027, the level of this look; intervals are at the plan's 95 %" in judged.reason


@pytest.mark.parametrize(
    ("multiplicity", "note", "reason"),
    [
        ("metrics-and-axes", "over 4 tests, 2 metrics on 2 axes", "both directions, metrics and axes"),
        ("metrics", "over 2 metrics within one axis", "both directions and metrics"),
        ("none", "not adjusted over metrics and axes", "both directions"),
    ],
)
def test_notes_and_reasons_say_what_holm_adjusts_over(multiplicity: Multiplicity, note: str, reason: str) -> None:
    metrics = (LOSS, MetricPlan(name="other", direction="lower", delta=0.02))
    plan = AnalysisPlan(metrics=metrics, axes=("tokens", "flops"), multiplicity=multiplicity)
    curves = study_table(np.random.default_rng(3), SCENARIOS[5], 8, metrics=("loss", "other"))
    analysis = analyse(curves, plan)
    assert any(note in text for text in analysis.notes)
    assert analysis.headline.outcome == "crossover"
    assert f"adjusted for {reason} p" in analysis.headline.reason
