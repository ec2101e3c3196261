"""Runs that are copies of each other: a seed that was not passed on, a file imported twice, a resume of another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.arm_labels import arm_label
from crossover.analysis.axis_text import axis_place
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve, CurveKey

REFUSED = 0.2
"""From this share of equal points on the runs are not independent enough to be judged."""
SAME = 1e-3
"""Values closer than this share of the distance between runs are equal: copies on two machines differ by rounding."""
_LEAST = 3
_DISTINCT = 0.6
"""Equal stretches count if so many of their values differ: scores of few items repeat by chance."""


def copies(runs: Mapping[CurveKey, Curve]) -> tuple[str, tuple[str, ...]]:
    """Find runs with equal values at the same places.

    Args:
        runs: of one metric over tokens, of all arms that are compared.

    Returns:
        The problem, empty unless a fifth of the points of two runs are equal; and notes that name shorter copies.
    """
    tolerance = SAME * max((_spread([c for (a, _), c in runs.items() if a == arm]) for arm, _ in runs), default=0.0)
    whole: list[tuple[CurveKey, CurveKey]] = []
    partial: list[str] = []
    refused = False
    for one, other in combinations(runs, 2):
        places, equal_P = _compare(runs[one], runs[other], tolerance)
        stretch = _longest(equal_P)
        if stretch is None or not _counts(runs[one], places[stretch]):
            continue
        size = stretch.stop - stretch.start
        if size == equal_P.size:
            whole.append((one, other))
            continue
        refused |= size >= REFUSED * equal_P.size
        low, high = places[stretch][[0, -1]]
        span = f"{axis_place('tokens', float(low))} to {axis_place('tokens', float(high))}"
        partial.append(f"{_name(one)} and {_name(other)} have the same values from {span}")
    if whole:
        listed = ", ".join(" = ".join(map(_name, group)) for group in _groups(whole))
        return f"Copies: {listed} have the same values at every checkpoint; was the seed passed on", ()
    if refused:
        return f"Partial copies: {'; '.join(partial)}; was a run resumed from another's checkpoint", ()
    return "", tuple(f"Partial copies: {text}." for text in partial)


def _compare(one: Curve, other: Curve, tolerance: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    if np.array_equal(one.x_P, other.x_P):
        places, value_P, other_P = one.x_P, one.value_P, other.value_P
    else:
        places, i, j = np.intersect1d(one.x_P, other.x_P, assume_unique=True, return_indices=True)
        value_P, other_P = one.value_P[i], other.value_P[j]
    return places, np.asarray(np.abs(value_P - other_P) <= tolerance)


def _spread(curves: Sequence[Curve]) -> float:
    """How far the first runs of an arm typically lie apart."""
    apart = [
        np.interp(one.x_P, other.x_P, other.value_P) - one.value_P
        for one, other in pairwise(curves)
        if _has(one, other)
    ]
    return float(np.median(np.abs(np.concatenate(apart)))) if apart else 0.0


def _has(*curves: Curve) -> bool:
    return all(curve.x_P.size for curve in curves)


def _longest(equal_P: NDArray[np.bool_]) -> slice | None:
    """The longest stretch of equal points, at least three."""
    edges = [-1, *np.flatnonzero(~equal_P).tolist(), equal_P.size]
    start, stop = max(((a + 1, b) for a, b in pairwise(edges)), key=lambda ends: ends[1] - ends[0])
    return slice(start, stop) if stop - start >= _LEAST else None


def _counts(curve: Curve, places: FloatArray) -> bool:
    values = curve.value_P[np.isin(curve.x_P, places)]
    return np.unique(values).size >= max(_LEAST, _DISTINCT * values.size)


def _groups(pairs: list[tuple[CurveKey, CurveKey]]) -> list[tuple[CurveKey, ...]]:
    """Runs that are copies of one another, together."""
    groups: list[list[CurveKey]] = []
    for one, other in pairs:
        group = next((g for g in groups if one in g or other in g), None)
        if group is None:
            groups.append(group := [])
        group += [key for key in (one, other) if key not in group]
    return [tuple(group) for group in groups]


def _name(key: CurveKey) -> str:
    return f"{arm_label(key[0])} seed {key[1]}"
