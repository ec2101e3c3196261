"""Which runs to start next, so that the width of the verdicts falls fastest for each GPU-hour, and when to stop.

The unit of evidence is a seed: one run of every arm in one cell. A cell is judged at the plan's looks only (alpha
spending, `inference.looks`), so what is chosen is a cell and what is bought are its seeds up to a look. The index of
a cell is the largest, over its further looks, of

    (width now − expected width at the look) / cost of the runs up to the look,

where the width of a verdict is 1 while it is open (`across.outlook`): of the cells with evidence left to buy the best
index goes first, a myopic rule with look-ahead over the looks (knowledge gradient; Frazier, Powell & Dayanik 2008). A
cell without any evidence is taken to be as likely as not to settle at its first look. Closing a cell early because it
will hardly settle (futility) says `insufficient evidence` of it, and can thus not create a false verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from crossover.analysis.across.cross_cell_result import NextRun
from crossover.analysis.across.verdict_outlook import Outlook, foresee, further_looks, narrowed, width_now
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.analysis.arm_labels import outcome_label
from crossover.errors import StudyError

FUTILITY = 0.05
"""A cell is given up when its chance to settle by its last look is smaller."""
DOUBT = 0.1
"""An outcome is not taken for the cell's last while the chance that the last look gives another is larger."""
UNKNOWN_CHANCE = 0.5
"""The chance to settle at the first look where nothing is known yet."""
Status = Literal["open", "settled", "out of reach", "all run"]
STATUSES: tuple[Status, ...] = ("open", "settled", "out of reach", "all run")


@dataclass(frozen=True)
class CellState:
    """What one cell has and may still get.

    `cost_per_run` names the arms of the study with the cost of one run each, in GPU-hours or, for all cells alike, in
    FLOPs; `seeds_done` holds the seeds whose runs are finished and part of the analysis.
    """

    cell: str
    analysis: Analysis | None
    seeds_done: Mapping[str, Sequence[int]]
    seeds_planned: Sequence[int]
    cost_per_run: Mapping[str, float]


@dataclass(frozen=True)
class CellOutlook:
    """What the design thinks of a cell."""

    cell: str
    status: Status
    reason: str
    pairs: int
    """Complete seed pairs that were judged."""
    look: int
    """Pairs at which it will be judged next; those it has when nothing more is run."""
    chance: float | None
    """Chance to settle by the last look; None where nothing is known."""
    width: float
    """Width of the verdict now: 1 is open."""
    gain: float
    """Expected narrowing for each unit of cost."""
    runs: tuple[NextRun, ...]
    """Runs up to the next look, seeds begun first."""


@dataclass(frozen=True)
class Design:
    """The state of a study in rounds: its cells, those to run first in front."""

    outlooks: tuple[CellOutlook, ...]
    spent: float
    """Cost of all finished runs."""
    full: float
    """Cost of all planned runs."""

    @property
    def open(self) -> bool:
        """Whether there is anything left to run."""
        return any(outlook.status == "open" for outlook in self.outlooks)

    @property
    def reason(self) -> str:
        """One sentence: why to go on, or why not."""
        counts = {status: sum(o.status == status for o in self.outlooks) for status in STATUSES}
        listed = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        first = self.outlooks[0] if self.open else None
        return f"Cells: {listed}" + (
            f"; next is {first.cell}: {first.reason}" if first else "; nothing is left to run."
        )

    def next_runs(self, most: int) -> tuple[NextRun, ...]:
        """The first runs, cell by cell."""
        return tuple(run for outlook in self.outlooks for run in outlook.runs)[:most]


def design(cells: Sequence[CellState], plan: AnalysisPlan, *, width: float | None = None) -> Design:
    """Order the cells by what their next runs are worth, and close those that need none.

    Args:
        cells: every cell of the study, each analysed with the runs that it has.
        plan: its looks say at how many pairs a cell may be judged; without looks none is judged, and thus none can be
            closed with a verdict, before all its planned seeds have run.
        width: wanted ratio of the ends of a crossing's interval, such as 2.0; a crossing that is located less
            sharply stays open. None asks for the verdict only.

    Returns:
        Each cell's status, chance and runs, and what was spent of the full grid.

    Raises:
        StudyError: a cell stands twice, has no arm of the plan, or a cost is not positive.
    """
    _check(cells, plan, width)
    outlooks = [_outlook(cell, plan, width) for cell in cells]
    outlooks.sort(key=lambda o: (STATUSES.index(o.status), -o.gain))
    return Design(
        outlooks=tuple(outlooks),
        spent=sum(c.cost_per_run[arm] * len(set(c.seeds_done.get(arm, ()))) for c in cells for arm in c.cost_per_run),
        full=sum(cost * len(c.seeds_planned) for c in cells for cost in c.cost_per_run.values()),
    )


def _check(cells: Sequence[CellState], plan: AnalysisPlan, width: float | None) -> None:
    names = [cell.cell for cell in cells]
    for cell in cells:
        missing = {plan.baseline, plan.candidate} - set(cell.cost_per_run)
        if names.count(cell.cell) > 1 or missing or not all(0 < c < np.inf for c in cell.cost_per_run.values()):
            raise StudyError(
                "design.bad-cell",
                field=cell.cell,
                problem="the cell stands twice, or the cost of a run is missing or not a positive number",
                remedy=f"give each cell once, with a cost for {plan.baseline} and {plan.candidate}",
            )
    if width is not None and width <= 1:
        raise StudyError(
            "design.bad-width",
            field="width",
            problem=f"{width:g} is no ratio of a larger to a smaller end",
            remedy="give a number above 1, such as 2 for 'within a factor of two'",
        )


def seeds_to_look(more: int, look: int) -> str:
    """How many more seeds bring a cell to a look, as a part of a reason."""
    if more < 1:
        return f"runs of other arms are wanted for its look at {look}"
    return f"{more} more seed{'s bring' if more > 1 else ' brings'} it to its look at {look}"


def _outlook(state: CellState, plan: AnalysisPlan, width: float | None) -> CellOutlook:
    verdict = state.analysis.headline if state.analysis else None
    paired, left = _seeds_left(state, plan)
    pairs = verdict.pairs if verdict else 0
    if verdict is None and len(state.seeds_planned) - len(left) >= (plan.looks or (plan.minimum_pairs,))[0]:
        raise StudyError(
            "design.not-analysed",
            field=state.cell,
            problem="has enough finished runs to be judged, and no analysis",
            remedy="analyse what was run before asking what to run next",
        )
    most = pairs + len(left)
    looks = further_looks(plan, pairs, most)
    valid = verdict is not None and (pairs in plan.looks or pairs >= (plan.looks or (most,))[-1])
    builder = _OutlookBuilder(state, plan, pairs, looks, paired, left)
    if verdict is not None and valid and verdict.outcome != "insufficient evidence":
        return _settled(builder, verdict, width)
    if not looks:
        return builder.closed("all run", f"no further look can be reached from {pairs} seed pairs.", 0.0, 1.0)
    if verdict is None:
        return builder.open(1.0, None, "nothing is known of it yet")
    outlook = foresee(verdict, looks, plan, plan.metrics[0].delta)
    if outlook is None:
        return builder.open(1.0, None, "too little is known of it to say how likely it settles")
    chance = float(outlook.settled_K[-1])
    if chance < FUTILITY and pairs >= plan.minimum_pairs:
        settling = f"the chance to settle by {looks[-1]} seed pairs is {chance:.1%}"
        return builder.closed("out of reach", f"given up as insufficient evidence: {settling}.", chance, 1.0)
    return builder.open(
        1.0, outlook, f"{outlook.settled_K[0]:.0%} to settle at the next look, {chance:.0%} by the last"
    )


def _settled(builder: _OutlookBuilder, verdict: Verdict, width: float | None) -> CellOutlook:
    """A cell with an outcome: closed, unless more seeds may well change the outcome or are to sharpen the crossing."""
    plan, pairs, looks, now = builder.plan, builder.pairs, builder.looks, width_now(verdict)
    label = outcome_label(verdict.outcome, verdict.baseline, verdict.candidate)
    outlook = foresee(verdict, looks, plan, plan.metrics[0].delta)
    if outlook is not None and outlook.other_K[-1] > DOUBT:
        doubt = float(outlook.other_K[-1])
        unsure = replace(outlook, width_K=doubt - outlook.other_K)
        return builder.open(doubt, unsure, f"{label} so far, with a chance of {doubt:.0%} for another outcome")
    if width is None or _ratio(verdict) <= width:
        return builder.closed("settled", f"{label}, at {pairs} seed pairs.", 1.0, now)
    if not looks:
        return builder.closed("settled", f"{label}, less sharply located than wanted; all has run.", 1.0, now)
    return builder.open(now, narrowed(now, pairs, looks, plan.alpha), "its crossing is not as sharp as wanted")


def _seeds_left(state: CellState, plan: AnalysisPlan) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Planned seeds that lack a run: pairs that lack another arm, and those that are no pairs, begun ones first."""
    done = {arm: set(state.seeds_done.get(arm, ())) for arm in state.cost_per_run}
    counts = {seed: sum(seed in seeds for seeds in done.values()) for seed in state.seeds_planned}
    unfinished = [seed for seed, count in counts.items() if count < len(done)]
    pairs = done[plan.baseline] & done[plan.candidate]
    left = sorted((seed for seed in unfinished if seed not in pairs), key=lambda seed: counts[seed] == 0)
    return tuple(seed for seed in unfinished if seed in pairs), tuple(left)


def _ratio(verdict: Verdict) -> float:
    """How far the ends of the crossing's interval are apart; 1 when nothing crosses, infinite when unbounded."""
    crossing = verdict.crossing
    if crossing is None:
        return 1.0
    return float(np.inf) if not crossing.low or crossing.high is None else crossing.high / crossing.low


@dataclass(frozen=True)
class _OutlookBuilder:
    """Puts a cell's outlook together."""

    state: CellState
    plan: AnalysisPlan
    pairs: int
    looks: tuple[int, ...]
    paired: tuple[int, ...]
    """Seeds that are pairs, and lack a run of another arm."""
    left: tuple[int, ...]
    """Seeds that are not pairs yet."""

    def closed(self, status: Status, reason: str, chance: float, width: float) -> CellOutlook:
        return CellOutlook(self.state.cell, status, reason, self.pairs, self.pairs, chance, width, 0.0, ())

    def open(self, width: float, outlook: Outlook | None, why: str) -> CellOutlook:
        """A cell with something to run: the best look for its cost, and the runs up to the next one."""
        costs = [self._cost(look) for look in self.looks]
        if outlook is None:
            gain, chance = width * UNKNOWN_CHANCE / costs[0], None
        else:
            gain = max((width - w) / c for w, c in zip(outlook.width_K.tolist(), costs, strict=True))
            chance = float(outlook.settled_K[-1])
        reason = f"{why}; {seeds_to_look(self.looks[0] - self.pairs, self.looks[0])}."
        runs = tuple(
            NextRun(
                cell=self.state.cell, arm=arm, seed=seed, cost=self.state.cost_per_run[arm], gain=gain, reason=reason
            )
            for seed in self._seeds(self.looks[0])
            for arm in self._lacking(seed)
        )
        return CellOutlook(self.state.cell, "open", reason, self.pairs, self.looks[0], chance, width, gain, runs)

    def _seeds(self, look: int) -> tuple[int, ...]:
        return (*self.paired, *self.left[: look - self.pairs])

    def _lacking(self, seed: int) -> list[str]:
        return [arm for arm in self.state.cost_per_run if seed not in self.state.seeds_done.get(arm, ())]

    def _cost(self, look: int) -> float:
        return sum(self.state.cost_per_run[arm] for seed in self._seeds(look) for arm in self._lacking(seed))
