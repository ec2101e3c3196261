"""On which side of what the crossing of a cell lies that has none in its verdict, and why a cell is left out."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulations.simulated_curves import Scenario, study_table
from crossover.analysis import Analysis, analyse
from crossover.analysis.across.cross_cell_result import CellCrossing, CellFacts
from crossover.analysis.across.crossing_regression import fit_movement
from tests.crossover.analysis_across.cells import LOSS, PLAN, cell

FACTS = CellFacts(cell="c", unique_tokens=10_000, parameters=100)
NARROW = PLAN.model_copy(update={"axes": ("epochs",), "comparisons": ("matched",)})


def judged(truth: float, seed: int, pairs: int = 8) -> Analysis:
    """A study of 1 to 100 epochs whose curves cross at a share of the log range."""
    scenario = Scenario("one", lambda u: 1.5 * (truth - u), truth)
    table = study_table(np.random.default_rng([7, seed, round(1000 * truth)]), scenario, pairs, points=30)
    return analyse(table, NARROW, unique_tokens=10_000)


def side(analysis: Analysis) -> CellCrossing:
    """What a movement takes of it."""
    return fit_movement([(FACTS, analysis), cell(10**6, 10**6, 6.0)], LOSS, "epochs", "matched").cells[0]


@pytest.mark.parametrize(
    ("low", "high", "least"), [(0.86, 0.99, 10), (0.02, 0.38, 3)], ids=["late window", "early window"]
)
def test_a_crossing_inside_a_window_is_not_taken_for_none(low: float, high: float, least: int) -> None:
    """It was, in 22 to 30 % of such cells: the edge beyond which nothing was measured was taken for the place."""
    wrong = known = 0
    for i, truth in enumerate(np.linspace(low, high, 40)):
        found, place = side(judged(float(truth), i)), 100 ** float(truth)
        known += found.at is None and (found.beyond is not None or found.before is not None)
        wrong += found.beyond is not None and found.beyond > place
        wrong += found.before is not None and found.before < place
    assert known >= least, "an example in which some do not cross by their verdict"
    assert wrong <= 1


def test_a_crossing_the_other_way_is_left_out_for_that_reason() -> None:
    back = analyse(
        study_table(np.random.default_rng(1), Scenario("back", lambda u: 0.3 * (u - 0.5), 0.5), 8, points=30),
        NARROW,
        unique_tokens=10_000,
    )
    assert back.headline.crossing is not None
    assert back.headline.crossing.direction == "candidate→baseline"
    others = [cell(u, 10**6, 6.0 * u / 1e6) for u in (10**6, 2 * 10**6, 4 * 10**6)]
    found = fit_movement([(FACTS, back), *others], LOSS, "epochs", "matched")
    assert found.cells[0].left_out == "crosses from DLM to AR, the other way"
    assert "1 of 4 cells is left out: it crosses from DLM to AR, the other way" in found.reason
    assert "insufficient" not in found.reason


def test_several_sign_changes_are_no_single_place() -> None:
    _, analysis = cell(10**6, 10**6, 0.5)
    assert analysis.headline.outcome == "candidate"
    assert side(analysis).before is not None
    verdicts = tuple(v.model_copy(update={"sign_changes": 2}) for v in analysis.verdicts)
    found = side(analysis.model_copy(update={"verdicts": verdicts}))
    assert (found.at, found.beyond, found.before) == (None, None, None)
    assert found.left_out == "the difference changes its sign 2 times"


def test_a_crossing_near_the_end_lies_beyond_the_late_windows_start() -> None:
    _, analysis = cell(10**6, 10**6, 80.0)
    update = {"outcome": "insufficient evidence", "obstacle": "crossing near the end: run longer"}
    verdicts = tuple(v.model_copy(update=update) for v in analysis.verdicts)
    late = analysis.headline.late
    assert late is not None
    assert side(analysis.model_copy(update={"verdicts": verdicts})).beyond == late.low
    bare = tuple(v.model_copy(update=update | {"obstacle": ""}) for v in analysis.verdicts)
    found = side(analysis.model_copy(update={"verdicts": bare}))
    assert found.beyond is None
    assert found.left_out == "evidence is insufficient"
