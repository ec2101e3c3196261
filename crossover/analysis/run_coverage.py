"""Which runs a metric's verdicts may use: those that cover the planned range, and that are no copies of each other.

The range is fixed by where runs were measured, before a value is looked at: from where most runs of each arm begin to
where most of them end. A run that ends early, begins late, or has no usable value at an end of the range leaves with
its seed pair; it never shortens what the others are judged on by more than a tolerance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import LostRun
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.axis_text import axis_place
from crossover.analysis.curve_columns import Columns, FloatArray
from crossover.analysis.curves import Curve, CurveKey, runs_of
from crossover.analysis.run_copies import copies
from crossover.analysis.shared_grid import reach

TOLERANCE = 0.03
"""A run may lack so much of the log range at an end; all runs are then compared without it."""


@dataclass(frozen=True)
class Coverage:
    """What became of a metric's runs."""

    lost: tuple[LostRun, ...] = ()
    problem: str = ""
    """Why nothing may be judged: copies."""
    notes: tuple[str, ...] = ()
    with_errors: frozenset[str] = frozenset()
    """Arms whose values came with a Monte Carlo error."""

    def kept(self, runs: Mapping[CurveKey, Curve]) -> dict[CurveKey, Curve]:
        """The runs that cover the range."""
        out = {(run.arm, run.seed) for run in self.lost}
        return {key: curve for key, curve in runs.items() if key not in out}

    def lost_more(self, plan: AnalysisPlan, baseline: str) -> tuple[str, int]:
        """The arm that lost more runs, and by how many; empty where both lost as many."""
        counts = Counter(run.arm for run in self.lost)
        surplus = counts[plan.candidate] - counts[baseline]
        return ("", 0) if not surplus else (plan.candidate if surplus > 0 else baseline, abs(surplus))


def cover(columns: Columns, metric: str, plan: AnalysisPlan) -> Coverage:
    """Find the runs of a metric that do not cover the range, and those that copy another.

    Args:
        columns: sorted rows.
        metric: its name.
        plan: the arms.

    Returns:
        Runs lost, each with what it lacks; copies as a problem where they are a fifth of the points or more, as a note
        where they are fewer.
    """
    curves = runs_of(columns, metric, "tokens")
    measured = _measured(columns, metric)
    arms = [arm for arm in (plan.baseline, plan.candidate, *plan.tuned) if any(a == arm for a, _ in curves)]
    of_arm = {arm: {s: x for (a, s), x in measured.items() if a == arm and x.size} for arm in arms}
    spans = {arm: _modal_range(list(places.values())) for arm, places in of_arm.items() if places}
    if not spans:
        return Coverage()
    low, high = max(a for a, _ in spans.values()), min(b for _, b in spans.values())
    lost: list[LostRun] = []
    for arm, places in of_arm.items() if low < high else ():
        schedule = np.unique(np.concatenate(list(places.values()))) if places else np.empty(0)
        for seed in sorted(places):
            lack = _lack(curves[arm, seed], schedule[(schedule >= low) & (schedule <= high)])
            if lack:
                lost.append(LostRun(arm=arm, seed=seed, reason=lack))
    problem, notes = copies({key: curve for key, curve in curves.items() if key[0] in arms})
    with_errors = {arm for (arm, _), curve in curves.items() if np.isfinite(curve.stderr_P).any()}
    return Coverage(tuple(lost), problem, (*_cut_short(spans, low, high), *notes), frozenset(with_errors))


def _measured(columns: Columns, metric: str) -> dict[CurveKey, FloatArray]:
    """Where each run has a row, usable or not."""
    rows = columns.metric == metric
    places: dict[CurveKey, FloatArray] = {}
    for arm in np.unique(columns.arm[rows]).tolist():
        of_arm = rows & (columns.arm == arm)
        for seed in np.unique(columns.seed[of_arm]).tolist():
            x_P = columns.x["tokens"][of_arm & (columns.seed == seed)]
            places[arm, seed] = x_P[x_P > 0]
    return places


def _modal_range(places: Sequence[FloatArray]) -> tuple[float, float]:
    """Where most runs of an arm begin and end; of ranges with as many runs the widest."""
    starts, ends = (np.array([x_P[i] for x_P in places]) for i in (0, -1))
    width = TOLERANCE * float(np.median(np.log(ends / starts)))
    return _mode(starts, width, earliest=True), _mode(ends, width, earliest=False)


def _mode(places: FloatArray, width: float, *, earliest: bool) -> float:
    near = np.abs(np.log(places[:, None] / places)) <= width
    exact = places[:, None] == places
    sign = -1.0 if earliest else 1.0
    return float(max(zip(near.sum(axis=1), exact.sum(axis=1), sign * places, strict=True))[2] * sign)


def _lack(curve: Curve, schedule: FloatArray) -> str:
    """What a run lacks of the places planned in the range; empty when it covers them but for the tolerance."""
    if not curve.x_P.size:
        return "has no usable value"
    if not schedule.size:
        return ""
    low, high = reach(curve)
    there = schedule[(schedule >= low) & (schedule <= high)]
    allowed = TOLERANCE * float(np.log(schedule[-1] / schedule[0]))
    lacks = []
    if not there.size or np.log(there[0] / schedule[0]) > allowed:
        lacks.append(f"begins at {axis_place('tokens', float(curve.x_P[0]))}")
    if not there.size or np.log(schedule[-1] / there[-1]) > allowed:
        lacks.append(f"ends at {axis_place('tokens', float(curve.x_P[-1]))}")
    return " and ".join(lacks)


def _cut_short(spans: Mapping[str, tuple[float, float]], low: float, high: float) -> list[str]:
    """A sentence where the arms were not measured over one range."""
    width = TOLERANCE * max(float(np.log(b / a)) for a, b in spans.values())
    late = [f"{arm_label(arm)} begins at {axis_place('tokens', a)}" for arm, (a, _) in spans.items() if a == low]
    early = [f"{arm_label(arm)} ends at {axis_place('tokens', b)}" for arm, (_, b) in spans.items() if b == high]
    parts = late if any(np.log(low / a) > width for a, _ in spans.values()) else []
    parts = parts + (early if any(np.log(b / high) > width for _, b in spans.values()) else [])
    return [
        f"The arms were measured over different ranges, and are compared where both were: {', '.join(parts)}."
    ] * bool(parts)
