"""Whether the crossing lies elsewhere in data of higher quality, for each budget and model that were run with both.

The lowest tier that was run is compared with the highest, on the headline's metric and axis. Where every seed pair
crosses by itself in both, the logarithms of its two crossings are subtracted, and the differences are tested by
Student's t over seeds: what a seed does alike in both tiers (its initial weights, the order of its batches) cancels.
The level is that of the plan over the number of comparisons (Bonferroni). Else the intervals of the two crossings
stand side by side, and only intervals that do not overlap say that it moves. A tier that does not cross in the range
has an interval from the edge of the range on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from crossover.analysis.across.cross_cell_result import CellCrossing, QualityShift
from crossover.analysis.across.crossing_regression import AnalysedCell, cell_crossing
from crossover.analysis.curve_columns import FloatArray

_RANKS = ("low", "all", "medium", "high")
"""From lower to higher quality; `all` is compared only where it is the one tier beside another."""


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
    """Log of the higher tier's crossing over the lower one's, by seed; empty unless each seed has both."""
    crossings = [cell[1].headline.crossing for cell in (lower, higher)]
    if crossings[0] is None or crossings[1] is None or lower[1].seeds != higher[1].seeds:
        return np.empty(0)
    places = [[place for place in crossing.per_seed if place] for crossing in crossings if crossing is not None]
    if any(len(found) != len(lower[1].seeds) for found in places):
        return np.empty(0)
    return np.asarray(np.log(places[1]) - np.log(places[0]))


def _interval(value_S: FloatArray, alpha: float) -> tuple[float, float]:
    t = float(special.stdtrit(len(value_S) - 1, 1 - alpha / 2))
    half = t * float(value_S.std(ddof=1)) / math.sqrt(len(value_S))
    return float(value_S.mean()) - half, float(value_S.mean()) + half


def _range(place: CellCrossing) -> tuple[float, float]:
    """Where the crossing lies, by its interval or by the side of the range on which it is."""
    if place.at is not None:
        return place.low or 0.0, math.inf if place.high is None else place.high
    return (place.beyond, math.inf) if place.beyond is not None else (0.0, place.before or math.inf)
