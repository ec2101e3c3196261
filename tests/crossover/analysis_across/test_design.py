"""Which runs go next, when a cell is closed, and that looking in rounds makes no false crossovers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.simulations.simulated_curves import SCENARIOS
from benchmarks.simulations.simulated_rounds import ORDERS, Moment, SimulatedCell, SimulatedStudy, simulate
from crossover.analysis.across.sequential_design import CellState, design
from crossover.analysis.analysis_result import Outcome
from crossover.errors import StudyError
from tests.crossover.analysis_across.growing import PLAN, exact_pairs, state

NEAR = exact_pairs(0.03, 0.03, 0.0225)
"""t = 3.0 in both windows: not yet significant at the first look, and likely to be at the next."""
FAINT = exact_pairs(0.03, 0.03, 0.06)
CLEAR = exact_pairs(0.1, 0.1, 0.01)
NO_LOOKS = PLAN.model_copy(update={"looks": ()})


def test_with_nothing_known_the_cheap_cell_goes_first_up_to_its_first_look() -> None:
    found = design([state("dear", cost=8.0), state("cheap", cost=1.0)], PLAN)
    assert [(o.cell, o.status, o.look) for o in found.outlooks] == [("cheap", "open", 5), ("dear", "open", 5)]
    assert [o.gain for o in found.outlooks] == pytest.approx([0.5 / 10, 0.5 / 80])
    runs = found.next_runs(3)
    assert [(run.cell, run.arm, run.seed) for run in runs] == [
        ("cheap", "ar", 0),
        ("cheap", "dlm", 0),
        ("cheap", "ar", 1),
    ]
    assert len(found.outlooks[0].runs) == 10
    assert found.outlooks[0].chance is None
    assert (found.spent, found.full, found.open) == (0.0, 12 * 2 * 9.0, True)
    assert found.reason.startswith("Cells: 2 open; next is cheap: nothing is known of it yet; 5 more seeds")


def test_the_best_gain_for_its_cost_goes_first_and_not_the_cheapest() -> None:
    found = design([state("faint", FAINT), state("near", NEAR, cost=2.0)], PLAN)
    assert [o.cell for o in found.outlooks] == ["near", "faint"]
    assert found.outlooks[0].gain > found.outlooks[1].gain > 0
    dearer = design([state("faint", FAINT), state("near", NEAR, cost=40.0)], PLAN)
    assert [o.cell for o in dearer.outlooks] == ["faint", "near"]
    assert {run.seed for run in found.outlooks[0].runs} == {5, 6, 7}


def test_a_settled_cell_is_closed() -> None:
    found = design([state("clear", CLEAR), state("crossing", exact_pairs(0.1, -0.1, 0.02))], PLAN)
    assert [(o.status, o.runs, o.gain) for o in found.outlooks] == [("settled", (), 0.0)] * 2
    assert [o.reason for o in found.outlooks] == ["AR is better, at 5 seed pairs.", "crossover, at 5 seed pairs."]
    assert not found.open
    assert found.reason == "Cells: 2 settled; nothing is left to run."
    assert (found.spent, found.full) == (20.0, 48.0)


def test_a_cell_that_will_hardly_settle_is_given_up() -> None:
    faint = exact_pairs(0.03, 0.03, 0.5)
    (outlook,) = design([state("faint", faint)], PLAN).outlooks
    assert (outlook.status, outlook.runs, outlook.width) == ("out of reach", (), 1.0)
    assert outlook.chance is not None
    assert outlook.chance < 0.05
    assert "given up as insufficient evidence: the chance to settle by 12 seed pairs is" in outlook.reason


def test_fewer_pairs_than_a_verdict_needs_are_too_few_to_give_up_on() -> None:
    one_look = PLAN.model_copy(update={"looks": (5,)})
    (outlook,) = design([state("faint", exact_pairs(0.0, 0.0, 0.5, pairs=4), plan=one_look)], one_look).outlooks
    assert outlook.status == "open"
    assert outlook.chance is not None
    assert outlook.chance < 0.05


def test_an_outcome_that_may_well_change_is_not_taken_for_the_last() -> None:
    doubtful = state("doubtful", exact_pairs(0.02, -0.1, 0.05))
    assert doubtful.analysis is not None
    assert doubtful.analysis.headline.outcome == "candidate"
    (outlook,) = design([doubtful], PLAN).outlooks
    assert outlook.status == "open"
    assert outlook.reason.startswith("DLM is better so far, with a chance of ")
    assert 0.1 < outlook.width < 1
    assert outlook.gain > 0
    at_the_end = state("doubtful", exact_pairs(0.005, -0.1, 0.05, pairs=12))
    assert design([at_the_end], PLAN).outlooks[0].status == "settled"


def test_a_crossing_is_sharpened_to_the_wanted_width_and_no_further() -> None:
    cell = state("crossing", exact_pairs(0.1, -0.1, 0.04))
    assert cell.analysis is not None
    crossing = cell.analysis.headline.crossing
    assert crossing is not None
    assert crossing.low is not None
    assert crossing.high is not None
    ratio = crossing.high / crossing.low
    assert design([cell], PLAN, width=ratio * 1.01).outlooks[0].status == "settled"
    (outlook,) = design([cell], PLAN, width=ratio * 0.99).outlooks
    assert (outlook.status, outlook.look) == ("open", 8)
    assert "not as sharp as wanted" in outlook.reason
    assert 0 < outlook.width < 1
    assert outlook.gain > 0
    assert design([state("flat", CLEAR)], PLAN, width=1.01).outlooks[0].status == "settled", "nothing crosses"
    short = replace(cell, seeds_planned=range(5))
    assert "less sharply located than wanted" in design([short], PLAN, width=ratio * 0.99).outlooks[0].reason


def test_without_looks_nothing_is_judged_before_all_seeds_have_run() -> None:
    part, whole = (
        state("clear", exact_pairs(0.1, 0.1, 0.01, pairs=n), plan=NO_LOOKS, planned=range(8)) for n in (6, 8)
    )
    assert part.analysis is not None
    assert part.analysis.headline.outcome == "baseline"
    (outlook,) = design([part], NO_LOOKS).outlooks
    assert (outlook.status, outlook.look, len(outlook.runs)) == ("open", 8, 4)
    assert design([whole], NO_LOOKS).outlooks[0].status == "settled"


def test_between_looks_a_cell_goes_on_to_the_next() -> None:
    (outlook,) = design([state("clear", exact_pairs(0.1, 0.1, 0.01, pairs=6))], PLAN).outlooks
    assert (outlook.status, outlook.look) == ("open", 8)
    assert sorted({run.seed for run in outlook.runs}) == [6, 7]


def test_when_no_further_look_can_be_reached_all_has_run() -> None:
    (outlook,) = design([state("near", NEAR, planned=range(7))], PLAN).outlooks
    assert (outlook.status, outlook.runs, outlook.chance) == ("all run", (), 0.0)
    assert outlook.reason == "no further look can be reached from 5 seed pairs."


def test_seeds_that_were_begun_are_ended_first() -> None:
    half = state("near", NEAR, done={"ar": [0, 1, 2, 3, 4, 9], "dlm": [0, 1, 2, 3, 4]})
    runs = design([half], PLAN).outlooks[0].runs
    assert [(run.arm, run.seed) for run in runs] == [("dlm", 9), ("ar", 5), ("dlm", 5), ("ar", 6), ("dlm", 6)]


def test_another_arm_s_missing_run_does_not_count_as_a_pair() -> None:
    arms = ("ar", "dlm", "ar-decay")
    done = {"ar": range(5), "dlm": range(5), "ar-decay": range(4)}
    runs = design([state("near", NEAR, arms=arms, done=done)], PLAN).outlooks[0].runs
    assert [(run.arm, run.seed) for run in runs] == [("ar-decay", 4), *((arm, s) for s in (5, 6, 7) for arm in arms)]


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        ([state("twice"), state("twice")], "twice"),
        ([state("armless", arms=("ar",))], "armless"),
        ([state("free", cost=0.0)], "free"),
        ([state("endless", cost=float("inf"))], "endless"),
        ([state("nan", cost=float("nan"))], "nan"),
    ],
)
def test_a_cell_that_cannot_be_is_named(cells: list[CellState], field: str) -> None:
    with pytest.raises(StudyError) as error:
        design(cells, PLAN)
    assert (error.value.code, error.value.field) == ("design.bad-cell", field)


def test_other_errors_are_named_too() -> None:
    with pytest.raises(StudyError) as error:
        design([state("a")], PLAN, width=1.0)
    assert (error.value.code, error.value.field) == ("design.bad-width", "width")
    with pytest.raises(StudyError) as error:
        design([replace(state("a", CLEAR), analysis=None)], PLAN)
    assert (error.value.code, error.value.field) == ("design.not-analysed", "a")


def test_the_order_decides_when_verdicts_come_and_not_which() -> None:
    cells = [
        SimulatedCell(s.name, s, {"ar": hours, "dlm": hours})
        for s, hours in ((SCENARIOS[0], 1.0), (SCENARIOS[3], 8.0), (SCENARIOS[5], 3.0))
    ]
    ends = {order: simulate(np.random.default_rng(4), cells, 12, PLAN, order=order) for order in ORDERS}
    assert len({(end.outcomes, end.full_outcomes, round(end.hours, 9)) for end in ends.values()}) == 1
    assert len({tuple(moment.hours for moment in end.path) for end in ends.values()}) > 1
    found = ends["design"]
    assert found == simulate(np.random.default_rng(4), cells, 12, PLAN)
    assert 5 / 12 <= found.share <= 1
    assert found.full_hours == 12 * 24
    assert found.path[0].outcomes == ("insufficient evidence",) * 3
    assert found.path[1].hours == 10.0, "five seeds of the cheapest cell"
    assert found.verdicts_at(0.0) == 0
    assert found.outcomes[1:] == ("crossover", "crossover")
    assert found.verdicts_at(1.0) == 3 - found.outcomes.count("insufficient evidence")
    assert 0 < found.open_area < 1


def test_the_outcomes_are_reached_when_they_stay() -> None:
    none: tuple[Outcome, Outcome] = ("insufficient evidence", "insufficient evidence")
    path = (
        Moment(0, none, 2),
        Moment(2, ("baseline", none[1]), 1),
        Moment(4, ("candidate", none[1]), 1),
        Moment(5, ("baseline", "candidate"), 0),
    )
    assert (
        SimulatedStudy((*path, Moment(6, ("baseline", "candidate"), 0)), ("baseline", "candidate"), 10).reached == 0.5
    )
    assert SimulatedStudy(path, ("baseline", "baseline"), 10).reached is None
    found = SimulatedStudy(path[:3], ("candidate", none[1]), 10)
    assert (found.reached, found.share, found.verdicts_at(0.39), found.verdicts_at(0.1)) == (0.4, 0.4, 1, 0)
    assert found.open_area == pytest.approx((2 * 2 + 1 * 8) / 20)


def test_rounds_make_no_more_false_crossovers_than_alpha() -> None:
    """Identical and converging truths, 3 looks: at a true rate of 5 % this bound fails once in 10,000 times."""
    cells = [SimulatedCell(str(i), SCENARIOS[2 * (i % 2)], {"ar": 1.0, "dlm": 1.0}) for i in range(4)]
    assert [cell.truth.crossing for cell in cells] == [None] * 4
    outcomes = [
        outcome for i in range(100) for outcome in simulate(np.random.default_rng([9, i]), cells, 12, PLAN).outcomes
    ]
    assert outcomes.count("crossover") <= stats.binom.ppf(0.9999, len(outcomes), 0.05)
    assert outcomes.count("equivalent") > len(outcomes) / 4, "the simulation does settle cells"


def test_the_benchmark_prints_its_tables() -> None:
    command = [sys.executable, "-m", "benchmarks.sequential", "--repeats", "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    for words in (
        "| all kinds | 12 | 5, 8, 12 | 0.42 | ",
        "| weak effects | cyclic | ",
        "3, 4, 6, 8, 12 (not allowed)",
    ):
        assert words in done.stdout
    assert "| crossing steep, ±0.05 | " in done.stdout.split("## First look")[1]
