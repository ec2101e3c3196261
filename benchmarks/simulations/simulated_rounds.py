"""Simulated studies of several cells with a known truth, run in rounds or as the full grid.

All seed pairs of the full grid are drawn beforehand; rounds see the first pairs of them only, so that both judge
the same runs. Shapes: S seed pairs, G grid points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.simulations.simulated_curves import Scenario, differences, grid
from crossover.analysis.across.sequential_design import CellOutlook, CellState, design
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis, Outcome, Verdict
from crossover.analysis.contrast_verdicts import judge_contrasts
from crossover.analysis.contrasts import Contrast
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Paired
from crossover.analysis.inference.verdict_rules import gather

SCALE = 3.0
"""The size of the losses that differences are taken of."""
Order = Literal["design", "cheapest", "cyclic"]
"""Which open cell goes next: the sequential design's, the one whose next look costs least, or each in turn."""
ORDERS: tuple[Order, ...] = ("design", "cheapest", "cyclic")


@dataclass(frozen=True)
class SimulatedCell:
    """One cell: its truth and what one run of each arm costs, in hours."""

    name: str
    truth: Scenario
    hours: Mapping[str, float]


@dataclass(frozen=True)
class Moment:
    """What is known after a round: the hours spent until then, each cell's outcome, and how many have no verdict."""

    hours: float
    outcomes: tuple[Outcome, ...]
    without: int


@dataclass(frozen=True)
class SimulatedStudy:
    """What a study in rounds came to, beside the full grid on the same runs."""

    path: tuple[Moment, ...]
    """From before the first round, when no cell has an outcome, to after the last."""
    full_outcomes: tuple[Outcome, ...]
    full_hours: float

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The cells' outcomes in the end."""
        return self.path[-1].outcomes

    @property
    def hours(self) -> float:
        """Spent in the end."""
        return self.path[-1].hours

    @property
    def share(self) -> float:
        """Of the full grid's hours."""
        return self.hours / self.full_hours

    @property
    def reached(self) -> float | None:
        """The share of the hours from which on every outcome is the full grid's; None when one is not in the end."""
        found = None
        for moment in self.path:
            same = moment.outcomes == self.full_outcomes
            found = (moment.hours if found is None else found) if same else None
        return None if found is None else found / self.full_hours

    @property
    def open_area(self) -> float:
        """The share of cells without a verdict, integrated over the full grid's hours: 0 all at once, 1 never."""
        ends = [*(moment.hours for moment in self.path[1:]), self.full_hours]
        area = sum(m.without * (end - m.hours) for m, end in zip(self.path, ends, strict=True))
        return area / self.full_hours / len(self.full_outcomes)

    def verdicts_at(self, share: float) -> int:
        """How many cells have a verdict after this share of the full grid's hours."""
        last = [moment for moment in self.path if moment.hours <= share * self.full_hours][-1]
        return len(self.full_outcomes) - last.without


def judge(difference_SG: FloatArray, plan: AnalysisPlan) -> Verdict:
    """The verdict on these pairs, on the path that `analyse` uses, for the plan's first metric and axis."""
    x_G, metric = grid(difference_SG.shape[1]), plan.metrics[0]
    evidence = gather(x_G, difference_SG, metric, plan, scale=SCALE)
    seeds = tuple(range(difference_SG.shape[0]))
    zero_SG = np.zeros_like(difference_SG)
    paired = Paired(seeds, x_G, zero_SG, difference_SG, zero_SG, zero_SG, (float(x_G[0]), float(x_G[-1])))
    contrast = Contrast(metric, plan.axes[0], plan.comparisons[0], plan.baseline, {}, paired, evidence)
    return judge_contrasts([contrast], plan)[0]


def analysis_of(difference_SG: FloatArray, plan: AnalysisPlan) -> Analysis:
    """An analysis that holds this verdict alone, without figures."""
    return Analysis(
        method="simulated",
        plan=plan,
        seeds=tuple(range(difference_SG.shape[0])),
        verdicts=(judge(difference_SG, plan),),
        figures=(),
        summaries=(),
        notes=(),
    )


def simulate(
    rng: np.random.Generator,
    cells: Sequence[SimulatedCell],
    planned: int,
    plan: AnalysisPlan,
    *,
    order: Order = "design",
    width: float | None = None,
) -> SimulatedStudy:
    """One study, in rounds of one cell each and as the full grid.

    Args:
        rng: where the draws come from.
        cells: their truths and costs.
        planned: seed pairs of each cell in the full grid.
        plan: with looks; the full grid is judged once, at the plan's alpha.
        order: which of the open cells goes next. When a cell is closed does not depend on it.
        width: the wanted width of crossings, as in `design`.

    Returns:
        The outcome.
    """
    runs_SG = {cell.name: differences(rng, cell.truth, planned) for cell in cells}
    once = plan.model_copy(update={"looks": ()})
    each = {cell.name: sum(cell.hours.values()) for cell in cells}
    done = dict.fromkeys(each, 0)
    analyses: dict[str, Analysis] = {}
    path: list[Moment] = []
    hours, last = 0.0, -1
    while True:
        found = design([_state(cell, done[cell.name], planned, analyses) for cell in cells], plan, width=width)
        outcomes = tuple(analyses[name].headline.outcome if done[name] else "insufficient evidence" for name in each)
        path.append(Moment(hours, outcomes, sum(outcome == "insufficient evidence" for outcome in outcomes)))
        waiting = {outlook.cell: outlook for outlook in found.outlooks if outlook.status == "open"}
        if not waiting:
            break
        costs = {name: each[name] * (outlook.look - done[name]) for name, outlook in waiting.items()}
        name = _choose(order, waiting, costs, list(each), last)
        hours, last = hours + costs[name], list(each).index(name)
        done[name] = waiting[name].look
        analyses[name] = analysis_of(runs_SG[name][: done[name]], plan)
    return SimulatedStudy(
        path=tuple(path),
        full_outcomes=tuple(judge(runs_SG[name], once).outcome for name in each),
        full_hours=planned * sum(each.values()),
    )


def _choose(
    order: Order, waiting: Mapping[str, CellOutlook], costs: Mapping[str, float], names: Sequence[str], last: int
) -> str:
    """The open cell that goes next; `waiting` is in the design's order."""
    if order == "cheapest":
        return min(waiting, key=lambda name: costs[name])
    if order == "cyclic":
        return min(waiting, key=lambda name: (names.index(name) - last - 1) % len(names))
    return next(iter(waiting))


def _state(cell: SimulatedCell, pairs: int, planned: int, analyses: Mapping[str, Analysis]) -> CellState:
    seeds = tuple(range(planned))
    return CellState(
        cell=cell.name,
        analysis=analyses.get(cell.name),
        seeds_done=dict.fromkeys(cell.hours, seeds[:pairs]),
        seeds_planned=seeds,
        cost_per_run=cell.hours,
    )
