"""Files that trackers export: W&B's CSV of a panel, histories of W&B runs, MLflow's CSV of metrics.

W&B panel        Step, "<run> - <metric>", "<run> - <metric>__MIN", …        a column for each run
W&B history      _step, _runtime, <metric>, …; JSON lines, CSV or Parquet     a file for each run, named by it
MLflow           run_id or Run, key or metric, value, step, timestamp         a row for each point
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from crossover.curve_files.csv_file import GZIP
from crossover.curve_files.parquet_file import PARQUET
from crossover.curve_files.table import error
from crossover.curve_files.trackers.tracked_series import TrackedSeries, series_of

_BETWEEN = " - "
_RUN, _METRIC = ("run", "run_name", "run name", "run_id"), ("key", "metric")
"""What the columns of a table with a row for each point are called, the best first; lower case."""
Records = dict[tuple[str, str], list[tuple[float, float, float]]]


def is_tracker_table(path: Path) -> bool:
    """Whether a file has the header, or the first line, of a tracker's export."""
    return _kind(_header(path)) is not None


def read_tracker_table(path: Path, metrics: Sequence[str]) -> list[TrackedSeries]:
    """The series of some metrics in a tracker's export.

    Args:
        path: CSV (also gzipped), JSON lines, or Parquet.
        metrics: names of the metrics to read.

    Raises:
        CurvesError: a row is not as its tracker writes it; says the row.
    """
    kind = _kind(_header(path))
    records: Records = {}
    for number, row in enumerate(_rows(path), start=1):
        try:
            for run, metric, step, value, time in _points(kind, row, path, metrics):
                records.setdefault((run, metric), []).append((step, value, time))
        except (ValueError, TypeError) as problem:
            text = f"{path.name}, row {number}: {problem}"
            raise error("unreadable", "FILE", text, "mend it, or export it again") from problem
    started: dict[str, float] = {}
    for (run, _), points in records.items():
        started[run] = min(started.get(run, float("inf")), *(time for *_, time in points))
    return [
        series_of(run, metric, points, 0.0 if kind == "history" else started[run], path.name)
        for (run, metric), points in records.items()
    ]


def _kind(header: Sequence[str]) -> str | None:
    if "arm" in header:
        return None  # a table of curves, whatever else it has
    if header and header[0] == "Step" and any(_BETWEEN in name for name in header[1:]):
        return "panel"
    if "_step" in header:
        return "history"
    lower = [name.lower() for name in header]
    named = any(n in lower for n in _RUN) and any(n in lower for n in _METRIC) and {"step", "value"} <= set(lower)
    return "points" if named else None


def _points(
    kind: str | None, row: Mapping[str, object], path: Path, metrics: Sequence[str]
) -> Iterator[tuple[str, str, float, float, float]]:
    """Run, metric, step, value and seconds of each point in a row."""
    if kind == "panel":
        for name, value in row.items():
            run, between, metric = name.rpartition(_BETWEEN)
            if between and metric in metrics and _present(value):
                yield run, metric, _number(row["Step"]), _number(value), float("nan")
    elif kind == "history":
        time = _number(row["_runtime"]) if _present(row.get("_runtime")) else float("nan")
        for metric in metrics:
            if _present(row.get(metric)):
                yield path.name.partition(".")[0], metric, _number(row["_step"]), _number(row[metric]), time
    else:
        fields = {name.lower(): value for name, value in row.items()}
        metric = str(next(fields[name] for name in _METRIC if name in fields))
        if metric in metrics:
            run = str(next(fields[name] for name in _RUN if name in fields))
            stamp = fields.get("timestamp")
            time = _number(stamp) / 1000 if _present(stamp) else float("nan")
            yield run, metric, _number(fields["step"]), _number(fields["value"]), time


def _present(value: object) -> bool:
    return value is not None and value != ""


def _number(value: object) -> float:
    if not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _header(path: Path) -> list[str]:
    """The names of the columns; of JSON lines those of the first line."""
    first = next(_rows(path), None)
    return list(first) if first is not None else []


def _rows(path: Path) -> Iterator[dict[str, object]]:
    """Each row as a dict; nothing from a file that is none of these."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == PARQUET:
            yield from _parquet_rows(path)
            return
        with _text(path, magic) as text:
            if (text.read(1)) == "{":
                text.seek(0)
                for line in text:
                    if line.strip():
                        yield json.loads(line)
                return
            text.seek(0)
            yield from csv.DictReader(text)
    except (OSError, ValueError, csv.Error, EOFError) as problem:
        text_ = " ".join(str(problem).split())[:200]
        raise error(
            "unreadable", "FILE", f"{path.name}: {text_}", "name a readable CSV, JSON or Parquet file"
        ) from problem


@contextmanager
def _text(path: Path, magic: bytes) -> Iterator[IO[str]]:
    opened = gzip.open(path, "rt", encoding="utf-8-sig", newline="") if magic[:2] == GZIP else None
    with opened or path.open(encoding="utf-8-sig", newline="") as text:
        yield text


def _parquet_rows(path: Path) -> Iterator[dict[str, object]]:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as problem:
        text = f"{path.name} is Parquet, and pyarrow is not installed"
        raise error(
            "no-pyarrow", "FILE", text, "run: pip install 'crossover[curves]', or save the table as CSV"
        ) from problem
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()
