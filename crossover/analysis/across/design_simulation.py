"""Simulated studies of several cells with a known truth, run in rounds or as the full grid.

All seed pairs of the full grid are drawn beforehand; rounds see the first pairs of them only, so that both judge
the same runs. Shapes: S seed pairs, G grid points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crossover.analysis.across.design import CellState, design
from crossover.analysis.columns import FloatArray
from crossover.analysis.curves import Paired
from crossover.analysis.inference.verdict import gather
from crossover.analysis.plan import AnalysisPlan
from crossover.analysis.questions import Question, answer
from crossover.analysis.result import Analysis, Verdict
from crossover.analysis.simulation import Scenario, differences, grid

SCALE = 3.0
"""The size of the losses that differences are taken of."""


@dataclass(frozen=True)
class SimulatedCell:
    """One cell: its truth and what one run of each arm costs, in hours."""

    name: str
    truth: Scenario
    hours: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """What a study in rounds came to, beside the full grid on the same runs."""

    words: tuple[str, ...]
    full_words: tuple[str, ...]
    hours: float
    full_hours: float
    rounds: int
    open_area: float
    """The share of cells without a verdict, integrated over the hours of the full grid: 0 at once, 1 never."""

    @property
    def share(self) -> float:
        """Of the full grid's hours."""
        return self.hours / self.full_hours


def judge(difference_SG: FloatArray, plan: AnalysisPlan) -> Verdict:
    """The verdict on these pairs, on the path that `analyse` uses, for the plan's first metric and axis."""
    x_G, metric = grid(difference_SG.shape[1]), plan.metrics[0]
    evidence = gather(x_G, difference_SG, metric, plan, scale=SCALE)
    seeds = tuple(range(difference_SG.shape[0]))
    zero_SG = np.zeros_like(difference_SG)
    paired = Paired(seeds, x_G, zero_SG, difference_SG, zero_SG)
    question = Question(metric, plan.axes[0], plan.comparisons[0], plan.baseline, {}, paired, evidence)
    return answer([question], plan)[0]


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
    order: str = "design",
    width: float | None = None,
) -> Outcome:
    """One study, in rounds and as the full grid.

    Args:
        rng: where the draws come from.
        cells: their truths and costs.
        planned: seed pairs of each cell in the full grid.
        plan: with looks; the full grid is judged once, at the plan's alpha.
        order: `design` asks the sequential design; `cyclic` takes the open cells in turn, with the same looks.
        width: the wanted width of crossings, as in `next_runs`.

    Returns:
        The outcome.
    """
    runs_SG = {cell.name: differences(rng, cell.truth, planned) for cell in cells}
    once = plan.model_copy(update={"looks": ()})
    full = {name: judge(difference_SG, once).word for name, difference_SG in runs_SG.items()}
    each = {cell.name: sum(cell.hours.values()) for cell in cells}
    full_hours = planned * sum(each.values())
    done = dict.fromkeys(each, 0)
    analyses: dict[str, Analysis] = {}
    hours, area, rounds, turn = 0.0, 0.0, 0, 0
    while True:
        found = design([_state(cell, done[cell.name], planned, analyses) for cell in cells], plan, width=width)
        waiting = [o for o in found.outlooks if o.status == "open"]
        if not waiting:
            break
        if order == "cyclic":
            names = [cell.name for cell in cells]
            chosen = min(waiting, key=lambda o: (names.index(o.cell) - turn) % len(names))
            turn = names.index(chosen.cell) + 1
        else:
            chosen = waiting[0]
        cost = each[chosen.cell] * (chosen.look - done[chosen.cell])
        open_cells = sum(o.width == 1.0 for o in found.outlooks)
        area += cost * open_cells
        hours += cost
        rounds += 1
        done[chosen.cell] = chosen.look
        analyses[chosen.cell] = analysis_of(runs_SG[chosen.cell][: chosen.look], plan)
    left_open = sum(o.width == 1.0 for o in found.outlooks)
    area += (full_hours - hours) * left_open
    words = tuple(analyses[cell.name].headline.word for cell in cells)
    return Outcome(
        words, tuple(full[cell.name] for cell in cells), hours, full_hours, rounds, area / full_hours / len(cells)
    )


def _state(cell: SimulatedCell, pairs: int, planned: int, analyses: Mapping[str, Analysis]) -> CellState:
    seeds = tuple(range(planned))
    return CellState(
        cell=cell.name,
        analysis=analyses.get(cell.name),
        seeds_done=dict.fromkeys(cell.hours, seeds[:pairs]),
        seeds_planned=seeds,
        cost_per_run=cell.hours,
    )
