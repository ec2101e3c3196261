"""Whether the crossing lies elsewhere in data of higher quality, for each budget and model that were run with both.

The lowest tier that was run is compared with the highest, on the headline's metric and axis. Where both cross, each
seed pair has a place in both, to first order: by lines through the checkpoints around the tier's crossing, the pair's
own difference at the root of the mean line, over the slope of that line. (A root of its own would be the one of several
that is nearest to the mean's, and hide how pairs scatter. The root of the mean line is a ratio estimator, of which
these are the influence values: taken there, and not at the crossing of the curves, they have the scatter of pairs'
slopes too.) The logarithms of a pair's two places are subtracted and tested by Student's t over seeds: what a seed does
alike in both tiers (its initial weights, the order of its batches) cancels. The level is that of the plan over the
number of comparisons (Bonferroni). Else the intervals of the two crossings stand side by side, and only intervals that
do not overlap say that it moves. A tier that does not cross in the range has an interval from the edge of the range on.

Shapes: S seeds, B checkpoints around a crossing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from crossover.analysis.across.cross_cell_result import CellCrossing, QualityShift
from crossover.analysis.across.crossing_regression import AnalysedCell, cell_crossing
from crossover.analysis.analysis_result import Analysis, Crossing, SeedCurve
from crossover.analysis.curve_columns import FloatArray

_RANKS = ("low", "all", "medium", "high")
"""From lower to higher quality; `all` is compared only where it is the one tier beside another."""
_LEAST = 4
"""Checkpoints that a line goes through, or more where the crossing's own fit reaches further."""


def quality_shifts(cells: Sequence[AnalysedCell]) -> tuple[QualityShift, ...]:
    """A comparison of two tiers for each budget and model that were run with two or more.

    Args:
        cells: the facts of each cell and its analysis; all of one plan.
    """
    groups: dict[tuple[int, int, bool], list[AnalysedCell]] = {}
    for facts, analysis in cells:
        if facts.quality in _RANKS:
            groups.setdefault((facts.unique_tokens, facts.parameters, facts.sparse), []).append((facts, analysis))
    pairs = [pair for group in groups.values() if (pair := _ends(group))]
    return tuple(_shift(lower, higher, len(pairs)) for lower, higher in pairs)


def _ends(group: Sequence[AnalysedCell]) -> tuple[AnalysedCell, AnalysedCell] | None:
    """The cells of the lowest and the highest tier; None where there is one tier."""
    ranked = sorted(group, key=lambda cell: _RANKS.index(cell[0].quality))
    own = [cell for cell in ranked if cell[0].quality != "all"]
    ends = own if len(own) > 1 else ranked
    return (ends[0], ends[-1]) if len(ends) > 1 else None


def _shift(lower: AnalysedCell, higher: AnalysedCell, comparisons: int) -> QualityShift:
    plan, head = lower[1].plan, lower[1].headline
    places = [cell_crossing(facts, analysis.headline, plan) for facts, analysis in (lower, higher)]
    shift = QualityShift(
        metric=head.metric, axis=head.axis, comparison=head.comparison, lower=places[0], higher=places[1]
    )
    if unknown := [place for place in places if place.left_out]:
        tiers = " and ".join(f"{place.facts.quality} ({place.left_out})" for place in unknown)
        return shift.model_copy(update={"reason": f"where the curves cross is not known in {tiers}"})
    alpha = plan.alpha / comparisons
    log_ratio_S = _of_pairs(lower, higher)
    if len(log_ratio_S) >= max(2, plan.minimum_pairs):
        low, high = _interval(log_ratio_S, alpha)
        moves = "later" if low > 0 else "earlier" if high < 0 else ""
        ratio, *interval = (float(np.exp(value)) for value in (log_ratio_S.mean(), low, high))
        found = {"ratio": ratio, "interval": tuple(interval), "pairs": len(log_ratio_S), "alpha": alpha}
        return shift.model_copy(update={"moves": moves, **found})
    (lower_start, lower_end), (higher_start, higher_end) = map(_range, places)
    moves = "later" if lower_end < higher_start else "earlier" if higher_end < lower_start else ""
    return shift.model_copy(update={"moves": moves})


def _of_pairs(lower: AnalysedCell, higher: AnalysedCell) -> FloatArray:
    """Log of the higher tier's crossing over the lower one's, by seed; empty where a tier does not cross."""
    before, after = _places(lower[1]), _places(higher[1])
    return np.asarray([after[seed] - before[seed] for seed in before if seed in after], dtype=np.float64)


def _places(analysis: Analysis) -> dict[int, float]:
    """Log of where each seed pair crosses, to first order around the root of all; empty where there is none."""
    head, crossing = analysis.headline, analysis.headline.crossing
    shown = (figure for figure in analysis.figures if (figure.metric, figure.axis) == (head.metric, head.axis))
    figure = next((figure for figure in shown if figure.comparison == head.comparison), None)
    if crossing is None or figure is None:
        return {}
    curves = {(curve.arm, curve.seed): curve for curve in figure.seeds}
    lines: dict[int, FloatArray] = {}
    for seed in analysis.seeds:
        baseline, candidate = (curves.get((arm, seed)) for arm in (head.baseline, head.candidate))
        if baseline is not None and candidate is not None:
            lines[seed] = _line(baseline, candidate, crossing)
    slope, height = np.mean(list(lines.values()), axis=0) if lines else (math.nan, math.nan)
    root = -height / slope
    at = math.log(crossing.at) + root
    return {seed: float(at - np.polyval(line, root) / slope) for seed, line in lines.items()}


def _line(baseline: SeedCurve, candidate: SeedCurve, crossing: Crossing) -> FloatArray:
    """Slope in log x of a pair's difference, and the difference at the crossing."""
    place_B = np.log(candidate.x) - math.log(crossing.at)
    reach = max(np.abs(np.log(crossing.bracket) - math.log(crossing.at)).max(), np.sort(np.abs(place_B))[:_LEAST][-1])
    near_B = np.abs(place_B) <= reach * (1 + 1e-9)
    difference_B = np.asarray(candidate.value) - np.interp(np.log(candidate.x), np.log(baseline.x), baseline.value)
    return np.asarray(np.polyfit(place_B[near_B], difference_B[near_B], 1))


def _interval(value_S: FloatArray, alpha: float) -> tuple[float, float]:
    t = float(special.stdtrit(len(value_S) - 1, 1 - alpha / 2))
    half = t * float(value_S.std(ddof=1)) / math.sqrt(len(value_S))
    return float(value_S.mean()) - half, float(value_S.mean()) + half


def _range(place: CellCrossing) -> tuple[float, float]:
    """Where the crossing lies, by its interval or by the side of the range on which it is."""
    if place.at is not None:
        return place.low or 0.0, math.inf if place.high is None else place.high
    return (place.beyond, math.inf) if place.beyond is not None else (0.0, place.before or math.inf)
