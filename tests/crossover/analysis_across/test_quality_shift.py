"""Tiers of quality: whether the crossing moves between them, and that nothing over cells mixes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossover.analysis import AnalysisPlan, analyse
from crossover.analysis.across import study_overview
from crossover.analysis.across.budget_advice import advise, advise_all
from crossover.analysis.across.cross_cell_result import CellFacts
from crossover.analysis.across.crossing_regression import AnalysedCell, fit_movement
from crossover.analysis.across.quality_shift import quality_shifts
from crossover.analysis.across.study_overview import CellInput, overview
from crossover.report import CellReport, ReportContext, headline, render_html, render_markdown
from tests.crossover.analysis_across.cells import EPOCHS, LOSS, PLAN
from tests.crossover.report import report_samples as samples

MODEL = 1_000_000
BUDGETS = (10_000, 20_000, 40_000, 80_000)


def curves(
    crossing_S: list[float], *, noise: float = 0.004, budget: int = 10_000, parameters: int = MODEL, stream: int = 0
) -> dict[str, list[Any]]:
    """Curves of seeds that cross at places of their own."""
    rng = np.random.default_rng([budget, stream])
    table: dict[str, list[Any]] = {name: [] for name in ("arm", "seed", "tokens", "flops", "metric", "value")}
    for arm in ("ar", "dlm"):
        for seed, at in enumerate(crossing_S):
            values = 3 - 0.2 * np.log10(EPOCHS) + 0.15 * np.log10(at / EPOCHS) * (arm == "dlm")
            table["value"] += (values + noise * rng.normal(size=EPOCHS.size)).tolist()
            table["tokens"] += np.round(EPOCHS * budget).tolist()
            table["flops"] += (6.0 * parameters * EPOCHS * budget).tolist()
            for name, value in (("arm", arm), ("seed", seed), ("metric", "loss")):
                table[name] += [value] * EPOCHS.size
    return table


def tiered(
    quality: str,
    crossing_S: list[float],
    *,
    plan: AnalysisPlan = PLAN,
    budget: int = 10_000,
    parameters: int = MODEL,
    noise: float = 0.004,
) -> CellInput:
    stream = ["low", "medium", "high", "all"].index(quality)
    table = curves(crossing_S, noise=noise, budget=budget, parameters=parameters, stream=stream)
    name = f"u{budget}-{quality}-n{parameters}"
    facts = CellFacts(cell=name, unique_tokens=budget, parameters=parameters, quality=quality)
    return CellInput(facts, table, analyse(table, plan, unique_tokens=budget), budget)


def analysed(*cells: CellInput) -> list[AnalysedCell]:
    return [(cell.facts, cell.analysis) for cell in cells]


def test_pairs_find_a_shift_that_intervals_of_scattered_seeds_hide() -> None:
    """Each seed crosses 1.5 times as late in high quality, and seeds scatter by far more."""
    own = [4.0, 7.0, 10.0, 15.0, 24.0]
    (shift,) = quality_shifts(analysed(tiered("low", own), tiered("high", [1.5 * at for at in own])))
    assert (shift.moves, shift.pairs, shift.lower.facts.quality) == ("later", 5, "low")
    assert shift.ratio == pytest.approx(1.5, rel=0.1)
    assert shift.interval is not None and 1 < shift.interval[0] < 1.5 < shift.interval[1]
    assert shift.lower.high is not None and shift.higher.low is not None
    assert shift.lower.high > shift.higher.low


def test_an_earlier_crossing_is_said_to_be_earlier() -> None:
    cells = analysed(tiered("high", [8.0] * 5), tiered("low", [20.0] * 5))
    (shift,) = quality_shifts(cells)
    assert (shift.moves, shift.higher.facts.quality) == ("earlier", "high")


def test_no_shift_is_no_evidence() -> None:
    (shift,) = quality_shifts(analysed(tiered("low", [10.0] * 5), tiered("high", [10.1] * 5)))
    assert shift.moves == "" and not shift.reason
    assert shift.interval is not None and shift.interval[0] < 1 < shift.interval[1]


def test_the_lowest_is_compared_with_the_highest_and_all_only_where_it_must_be() -> None:
    cells = analysed(*(tiered(name, [10.0] * 5) for name in ("low", "medium", "high", "all")))
    for names, ends in (
        (("low", "medium", "high", "all"), ("low", "high")),
        (("medium", "high", "all"), ("medium", "high")),
        (("high", "all"), ("all", "high")),
        (("low", "all"), ("low", "all")),
    ):
        (shift,) = quality_shifts([cell for cell in cells if cell[0].quality in names])
        assert (shift.lower.facts.quality, shift.higher.facts.quality) == ends
    assert quality_shifts(cells[:1]) == ()


def test_the_level_is_shared_by_all_comparisons() -> None:
    cells = [tiered(tier, [10.0] * 5, budget=budget) for budget in BUDGETS for tier in ("low", "high")]
    shifts = quality_shifts(analysed(*cells))
    assert [shift.alpha for shift in shifts] == [PLAN.alpha / 4] * 4
    one = quality_shifts(analysed(*cells[:2]))[0]
    assert one.interval is not None and shifts[0].interval is not None
    assert shifts[0].interval[0] < one.interval[0] < one.interval[1] < shifts[0].interval[1]


def test_a_tier_that_crosses_beyond_the_range_if_at_all_stands_beside() -> None:
    (shift,) = quality_shifts(analysed(tiered("low", [5.0] * 5), tiered("high", [4000.0] * 5)))
    assert shift.higher.beyond is not None and shift.ratio is None
    assert shift.moves == "later"
    (both,) = quality_shifts(analysed(tiered("low", [4000.0] * 5), tiered("high", [5000.0] * 5)))
    assert (both.moves, both.reason) == ("", "")


def test_too_few_pairs_say_why_nothing_is_compared() -> None:
    (shift,) = quality_shifts(analysed(tiered("low", [5.0] * 2), tiered("high", [20.0] * 2)))
    assert (shift.moves, shift.ratio) == ("", None)
    assert "is not known in low (evidence is insufficient) and high (evidence is insufficient)" in shift.reason


def test_the_interval_of_the_ratio_holds_the_truth() -> None:
    """Seeds with places of their own and noise between checkpoints; 95 % would be the level."""
    rng, plan = np.random.default_rng(0), PLAN.model_copy(update={"axes": ("epochs",), "comparisons": ("matched",)})
    held = []
    for number in range(100):
        places_2S = 12 * np.exp(0.1 * rng.normal(size=(2, 5))) * [[1.0], [1.5]]
        pair = [
            tiered(tier, list(places), plan=plan, budget=20_000 + number, noise=0.02)
            for tier, places in zip(("low", "high"), places_2S, strict=True)
        ]
        (shift,) = quality_shifts(analysed(*pair))
        held += [shift.interval[0] <= 1.5 <= shift.interval[1]] if shift.interval else []
    assert len(held) > 90
    assert sum(held) >= 0.89 * len(held)  # P(fewer of 100 at 95 %) is 0.4 %


def test_a_movement_is_fitted_in_each_tier_by_itself() -> None:
    slopes = {"low": 0.9, "high": 0.3}
    cells = [
        tiered(tier, [6 * (budget / 1e4) ** slope] * 5, budget=budget)
        for budget in BUDGETS
        for tier, slope in slopes.items()
    ]
    ahead = [CellFacts(cell="", unique_tokens=160_000, parameters=MODEL, quality=tier) for tier in slopes]
    movement = fit_movement(analysed(*cells), LOSS, "epochs", "matched", forecasts=ahead)
    assert {slope.quality: pytest.approx(slope.estimate, abs=0.1) for slope in movement.slopes} == slopes
    alone = fit_movement(analysed(*cells[::2]), LOSS, "epochs", "matched", forecasts=ahead[:1])
    assert alone.slopes == movement.slopes[:1] and alone.forecasts == movement.forecasts[:1]
    assert movement.reason.startswith("Quality low: Fitted to 4 crossings")
    assert "Quality high: Fitted to 4 crossings" in movement.reason


def test_advice_is_of_the_tier_that_is_asked_for() -> None:
    cells = [tiered(tier, [at] * 5, budget=b) for b in BUDGETS for tier, at in (("low", 4000.0), ("high", 3.0))]
    found = {(a.quality, a.unique_tokens): a.choose for a in advise_all(analysed(*cells))}
    assert found == {(tier, b): arm for b in BUDGETS for tier, arm in (("low", "baseline"), ("high", "candidate"))}
    other = advise(analysed(*cells), unique_tokens=30_000, parameters=MODEL, quality="high", epochs=50)
    assert (other.quality, other.basis, other.choose) == ("high", "forecast", "candidate")
    assert (
        advise(analysed(*cells), unique_tokens=30_000, parameters=MODEL, quality="low", epochs=50).basis != "forecast"
    )


def test_frontiers_and_laws_stay_within_a_tier() -> None:
    plan = PLAN.model_copy(update={"comparisons": ("matched", "frontier")})
    cells = [
        tiered(tier, [10.0] * 5, plan=plan, budget=budget, parameters=n)
        for budget in BUDGETS[:1]
        for tier in ("low", "high")
        for n in (MODEL, 2 * MODEL)
    ]
    found = overview(cells, plan)
    assert [(f.quality, f.cells) for f in found.frontiers] == [
        (tier, tuple(f"u10000-{tier}-n{n}" for n in (MODEL, 2 * MODEL))) for tier in ("low", "high")
    ]
    assert {(law.arm, law.quality) for law in found.laws} == {(a, q) for a in ("ar", "dlm") for q in ("low", "high")}
    assert max(law.runs for law in found.laws) == 10  # two models, five seeds; not those of the other tier


def page_of(cells: list[CellInput], monkeypatch: pytest.MonkeyPatch) -> ReportContext:
    monkeypatch.setattr(study_overview, "fit_laws", lambda *_, **__: ())
    reports = [CellReport(cell=c.facts.cell, unique_tokens=c.tokens, analysis=c.analysis) for c in cells]
    return samples.context(*reports).model_copy(update={"overview": overview(cells, PLAN)})


def test_the_report_says_how_quality_moves_the_crossing(monkeypatch: pytest.MonkeyPatch) -> None:
    context = page_of([tiered("low", [8.0] * 5), tiered("high", [20.0] * 5)], monkeypatch)
    said = (
        "Quality moves the crossing with 10.0 k unique tokens and 1.00 M parameters, which is later in high quality: "
        "epoch "
    )
    (line,) = [line for line in headline(context) if line.startswith("QUALITY: ")]
    assert line.startswith(f"QUALITY: {said}")
    assert "the ratio of the two is 2." in line and "95 % interval over 5 seed pairs" in line
    page = render_html(context)
    assert said in page and said in render_markdown(context)
    assert "1.00 M parameters, quality high" in page  # what to choose, and a line of the map


def test_the_report_says_that_there_is_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    context = page_of([tiered("low", [10.0] * 5), tiered("high", [10.1] * 5)], monkeypatch)
    said = "No evidence that quality moves the crossing with 10.0 k unique tokens and 1.00 M parameters"
    assert said in render_html(context)
    assert any(said in line for line in headline(context))
