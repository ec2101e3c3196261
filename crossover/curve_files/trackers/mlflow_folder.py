"""MLflow's local folder, `mlruns`: one folder a run, and in it one text file a metric, read without MLflow.

    mlruns/<experiment>/<run>/meta.yaml          run_name: ar-seed0
    mlruns/<experiment>/<run>/tags/mlflow.runName
    mlruns/<experiment>/<run>/metrics/<key>      <milliseconds> <value> <step>

https://mlflow.org/docs/latest/tracking: the file store.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from crossover.curve_files.table import error
from crossover.curve_files.trackers.tracked_series import TrackedSeries, series_of


def is_mlflow_folder(path: Path) -> bool:
    """Whether a folder is `mlruns`, an experiment of it, or a run."""
    return any(True for _ in _metric_folders(path))


def _metric_folders(path: Path) -> list[Path]:
    return sorted(f for depth in ("", "*/", "*/*/") for f in path.glob(f"{depth}metrics") if _is_run(f.parent))


def _is_run(folder: Path) -> bool:
    return (folder / "meta.yaml").is_file()


def read_mlflow_folder(path: Path, metrics: Sequence[str]) -> list[TrackedSeries]:
    """The metrics of every run in a folder that is not deleted.

    Args:
        path: `mlruns`, the folder of an experiment, or of a run.
        metrics: names of those to read; a run need not have all.

    Raises:
        CurvesError: a file is not as MLflow writes it; says the line.
    """
    found = []
    for folder in _metric_folders(path):
        name, deleted = _described(folder.parent)
        if deleted:
            continue
        records = {metric: _records(folder / metric) for metric in metrics if (folder / metric).is_file()}
        started = min((time for points in records.values() for *_, time in points), default=0.0)
        place = str(folder.parent)
        found += [series_of(name, metric, points, started, place) for metric, points in records.items()]
    return found


def _described(run: Path) -> tuple[str, bool]:
    """A run's name, and whether it is deleted."""
    try:
        meta = yaml.safe_load((run / "meta.yaml").read_text("utf-8"))
        tag = run / "tags" / "mlflow.runName"
        named = tag.read_text("utf-8").strip() if tag.is_file() else ""
    except (OSError, ValueError, yaml.YAMLError) as problem:
        text = " ".join(str(problem).split())[:200]
        raise error("unreadable", "FILE", f"{run}/meta.yaml: {text}", "mend it, or leave the run out") from problem
    meta = meta if isinstance(meta, dict) else {}
    name = named or str(meta.get("run_name") or "") or run.name
    return name, meta.get("lifecycle_stage") == "deleted"


def _records(file: Path) -> list[tuple[float, float, float]]:
    """Step, value and seconds of each line."""
    records = []
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError) as problem:
        raise error("unreadable", "FILE", f"{file}: {problem}", "mend it, or leave the run out") from problem
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        try:
            stamp, number_text, *steps = fields
            time, value = int(stamp), float(number_text)
            (step,) = map(int, steps or ["0"])  # very old files have no step
        except ValueError as problem:
            text = f"{file}, line {number} is not `milliseconds value step`: {line[:60]!r}"
            raise error("unreadable", "FILE", text, "mend it, or leave the run out") from problem
        records.append((float(step), value, time / 1000))
    return records
