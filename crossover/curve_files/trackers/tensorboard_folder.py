"""A folder of TensorBoard: each folder with event files is a run, named by its path below the one that was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossover.curve_files.trackers.event_file import read_events
from crossover.curve_files.trackers.tracked_series import TrackedSeries, series_of

_EVENTS = "*tfevents*"


def is_tensorboard_folder(path: Path) -> bool:
    """Whether there are event files at or below a folder."""
    return next((True for file in path.rglob(_EVENTS) if file.is_file()), False)


def read_tensorboard_folder(path: Path, metrics: Sequence[str]) -> list[TrackedSeries]:
    """The scalars of some tags of every run.

    Several event files of a run are read in the order of their names, which begin with the time of their start: what a
    resumed run wrote anew supersedes what was there.

    Args:
        path: the log folder, or that of one run.
        metrics: the tags to read; a run need not have all.

    Raises:
        CurvesError: an event file is damaged.
    """
    files: dict[Path, list[Path]] = {}
    for file in sorted(path.rglob(_EVENTS)):
        if file.is_file():
            files.setdefault(file.parent, []).append(file)
    found = []
    for folder, events in files.items():
        points: dict[str, list[tuple[float, float, float]]] = {}
        for scalar in (scalar for file in events for scalar in read_events(file)):
            if scalar.tag in metrics:
                points.setdefault(scalar.tag, []).append((float(scalar.step), scalar.value, scalar.time))
        started = min((time for records in points.values() for *_, time in records), default=0.0)
        name = folder.relative_to(path).as_posix() if folder != path else folder.resolve().name
        found += [series_of(name, tag, records, started, str(folder)) for tag, records in points.items()]
    return found
