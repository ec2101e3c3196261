"""One metric of one run, as a tracker recorded it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossover.curve_files.table import FloatArray


@dataclass(frozen=True)
class TrackedSeries:
    """Points of a metric by rising step."""

    run: str
    """The run's name in the tracker."""
    metric: str
    step_P: FloatArray
    value_P: FloatArray
    seconds_P: FloatArray
    """Wall time since the run's first record; NaN where it is unknown."""
    place: str
    """The file that it comes from, for messages."""
    superseded: int = 0
    """Points left out, because a later record went back to their step."""


def series_of(
    run: str, metric: str, points: Sequence[tuple[float, float, float]], started: float, place: str
) -> TrackedSeries:
    """A series of records in the order in which they were written.

    A record at a step that an earlier one has reached supersedes every earlier point from that step on: a run that was
    resumed from a checkpoint wrote these steps anew.

    Args:
        run: its name.
        metric: its name.
        points: step, value, and time in seconds, NaN where it is unknown.
        started: time of the run's first record, in the same clock.
        place: where they come from.
    """
    kept: list[tuple[float, float, float]] = []
    for point in points:
        while kept and kept[-1][0] >= point[0]:
            kept.pop()
        kept.append(point)
    columns = np.array(kept, dtype=np.float64).reshape(-1, 3)
    return TrackedSeries(
        run, metric, columns[:, 0], columns[:, 1], columns[:, 2] - started, place, len(points) - len(kept)
    )
