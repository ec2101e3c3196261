"""Long runs made short: points evenly in log tokens, chosen without a look at how good they are.

The analysis takes time and memory with the square of the number of points a run. A tracker that logged every step gives
tens of thousands; the windows, the crossing and the bands need a few hundred. Rows without a value are passed over:
else a file with a row for each step and a value at every hundredth would lose nearly all that was measured.

Shapes: R rows of the table, P points of one run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.curves import LARGEST
from crossover.curve_files.table import CurveTable, FloatArray

MOST_POINTS = 256
"""Of one metric of one run."""
_DOUBLINGS = 10
"""Points are crowded late; up to so many times as many places are tried as points are wanted."""
Rows = NDArray[np.intp]


def thin(table: CurveTable, rows: Rows) -> Rows:
    """The rows to analyse: of each metric of each run at most `MOST_POINTS`, its first and last among them.

    Only rows with a usable value are chosen; of a run that has none as many rows stay, so that the analysis says so.
    Rows that the analysis would refuse (a point twice, tokens that decrease with rising FLOPs, seconds or step, what is
    negative) always stay, so that it does refuse them.

    Args:
        table: a long table.
        rows: those to choose from.

    Returns:
        Rows in the order of `rows`; all of them when no run is long.
    """
    tokens = table.numbers["tokens"][rows]
    measured = np.abs(table.numbers["value"][rows]) < LARGEST
    keys = (table.numbers["seed"][rows], table.names["arm"].code_R[rows], table.names["metric"].code_R[rows])
    order = np.lexsort((tokens, *keys))
    same = np.ones(max(rows.size - 1, 0), dtype=bool)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    starts = np.flatnonzero(np.r_[True, ~same]) if rows.size else np.empty(0, np.intp)
    sizes = np.diff(np.r_[starts, rows.size])
    if not rows.size or sizes.max() <= MOST_POINTS:
        return rows
    keep = _refused(table, rows, order, same)
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        run = order[start : start + size]
        places = np.flatnonzero(measured[run]) if measured[run].any() and size > MOST_POINTS else np.arange(size)
        keep[start + places] |= _even(tokens[run[places]])
    return rows[np.sort(order[keep])]


def _refused(table: CurveTable, rows: Rows, order: Rows, same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows, in order, that the analysis has something against."""
    bad = np.zeros(rows.size, dtype=bool)
    for name in ("tokens", "flops", "seconds", "step", "stderr"):
        if name not in table.numbers:
            continue
        column = table.numbers[name][rows][order]
        bad |= (column < 0) | (np.isposinf(column) if name == "stderr" else False)
        if name != "stderr":
            rise = np.diff(column)
            wrong = same & ((rise == 0) if name == "tokens" else (rise < 0))
            bad[:-1] |= wrong
            bad[1:] |= wrong
    return bad


def _even(tokens_P: FloatArray) -> NDArray[np.bool_]:
    """Which points of a run to keep; one at 0 tokens has no place in log tokens and counts as the first that has."""
    if tokens_P.size <= MOST_POINTS:
        return np.ones(tokens_P.size, dtype=bool)
    positive = tokens_P[tokens_P > 0]
    low = float(positive[0]) if positive.size else 1.0
    log_P = np.log(np.maximum(tokens_P, low))
    few, many = MOST_POINTS, MOST_POINTS << _DOUBLINGS
    while many - few > few // 16:
        middle = (few + many) // 2
        few, many = (middle, many) if _nearest(log_P, middle).size <= MOST_POINTS else (few, middle)
    keep = np.zeros(tokens_P.size, dtype=bool)
    keep[_nearest(log_P, few)] = True
    return keep


def _nearest(log_P: FloatArray, targets: int) -> NDArray[np.intp]:
    """The points next to so many even places."""
    place = np.linspace(log_P[0], log_P[-1], targets)
    right = np.clip(np.searchsorted(log_P, place), 1, log_P.size - 1)
    left = right - 1
    return np.unique(np.where(place - log_P[left] <= log_P[right] - place, left, right))
