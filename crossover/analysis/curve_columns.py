"""From anybody's table of curves to clean columns, or to an error that names the column and the remedy.

A table is anything that gives a column by name: a dict of lists, a pandas or polars DataFrame, a pyarrow Table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.analysis_plan import AnalysisPlan, Axis
from crossover.errors import CurvesError

FloatArray = NDArray[np.float64]
X_COLUMNS: tuple[Axis, ...] = ("tokens", "flops", "seconds")


@dataclass(frozen=True)
class Columns:
    """Rows of equal length R, sorted by metric, arm, seed and tokens. A column of NaN stands for an absent one."""

    metric: NDArray[np.str_]
    arm: NDArray[np.str_]
    seed: NDArray[np.int64]
    x: dict[Axis, FloatArray]
    value: FloatArray
    stderr: FloatArray


def read_columns(curves: Any, plan: AnalysisPlan, unique_tokens: int | None) -> Columns:  # noqa: ANN401  # any table with columns
    """Read, validate and sort a table of curves.

    Args:
        curves: columns `arm, seed, tokens, metric, value`, those of `flops, seconds` that the plan asks for, and
            `stderr` and `step` if there are any. The order of rows is of no account.
        plan: what will be tested.
        unique_tokens: tokens in one epoch; needed for the axis `epochs` only.

    Returns:
        The sorted rows; the axis `epochs` is tokens / unique_tokens.

    Raises:
        CurvesError: a column is missing or not of its type, a point stands twice, tokens decrease within a run while
            another axis or `step` rises, an arm or a metric of the plan has no rows, or epochs have no known length.
    """
    table = _Table(curves)
    needed = ["arm", "seed", "tokens", "metric", "value", *(a for a in plan.axes if a in ("flops", "seconds"))]
    for name in needed:
        if name not in table.names:
            raise _error("column-missing", name, f"no such column among {sorted(table.names)}", f"add {name!r}")
    rows = len(table.text("arm"))
    missing = np.full(rows, np.nan)
    x = {axis: table.numbers(axis) if axis in table.names else missing for axis in X_COLUMNS}
    stderr = table.numbers("stderr") if "stderr" in table.names else missing
    columns = Columns(table.text("metric"), table.text("arm"), table.seeds(), x, table.numbers("value"), stderr)
    further = {"step": table.numbers("step")} if "step" in table.names else {}
    _check_lengths(columns, rows, further)
    _check_ranges(columns)
    order = np.lexsort((columns.x["tokens"], columns.seed, columns.arm, columns.metric))
    columns = _sorted(columns, order)
    _check_runs(columns, {name: column[order] for name, column in further.items()})
    _check_plan(columns, plan)
    if "epochs" in plan.axes or unique_tokens is not None:
        columns.x["epochs"] = columns.x["tokens"] / _epoch_length(unique_tokens)
    return columns


class _Table:
    """Columns by name, whatever the table is."""

    def __init__(self, curves: Any) -> None:  # noqa: ANN401  # any table with columns
        source = curves.to_pydict() if hasattr(curves, "to_pydict") else curves
        listed = source.columns if hasattr(source, "columns") else source
        if isinstance(source, str | bytes) or not isinstance(listed, Iterable) or not hasattr(source, "__getitem__"):
            raise _error(
                "not-a-table", "curves", f"found a {type(curves).__name__}", "give a dict of columns or a DataFrame"
            )
        self._source = source
        listed = [str(name) for name in getattr(curves, "column_names", listed)]
        self.names = set(listed)
        for name in sorted(self.names):
            if listed.count(name) > 1:
                raise _error("column-twice", name, f"stands {listed.count(name)} times", "keep one of them")

    def text(self, name: str) -> NDArray[np.str_]:
        source = self._source[name]
        if isinstance(source, np.ndarray) and source.dtype.kind == "U":
            return source
        column = np.asarray(source, dtype=object)
        bad = [value for value in column if not isinstance(value, str)]
        if bad:
            raise _error("not-text", name, f"{bad[0]!r} is not text", "give names as strings")
        return column.astype(np.str_)

    def numbers(self, name: str) -> FloatArray:
        column = self._source[name]
        try:
            if not (isinstance(column, np.ndarray) and column.dtype.kind in "iuf"):
                column = [np.nan if repr(v) in ("None", "<NA>") else v for v in column]
            numbers = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise _error("not-a-number", name, str(error), "give numbers; leave unknown ones NaN") from error
        if numbers.ndim != 1:
            raise _error("not-a-column", name, f"has {numbers.ndim} dimensions", "give one number per row")
        return numbers

    def seeds(self) -> NDArray[np.int64]:
        numbers = self.numbers("seed")
        integral = np.isfinite(numbers) & (np.abs(numbers) < 2.0**53)
        integral[integral] = numbers[integral] == np.floor(numbers[integral])
        if not integral.all():
            problem = f"{numbers[~integral][0]} is not a whole number below 2^53"
            raise _error("bad-seed", "seed", problem, "number the seeds 0, 1, 2, …")
        return numbers.astype(np.int64)


def _error(code: str, field: str, problem: str, remedy: str) -> CurvesError:
    return CurvesError(f"curves.{code}", field=field, problem=problem, remedy=remedy)


def _epoch_length(unique_tokens: int | None) -> int:
    if unique_tokens is None:
        raise _error(
            "bad-unique-tokens",
            "unique_tokens",
            "the plan asks for the axis 'epochs', and the length of an epoch is not given",
            "give unique_tokens, or leave 'epochs' out of plan.axes",
        )
    if unique_tokens < 1:
        raise _error("bad-unique-tokens", "unique_tokens", f"{unique_tokens} is not positive", "give the unique tokens")
    return unique_tokens


def _check_lengths(columns: Columns, rows: int, further: dict[str, FloatArray]) -> None:
    sized: dict[str, NDArray[Any]] = {
        "metric": columns.metric,
        "seed": columns.seed,
        "value": columns.value,
        "stderr": columns.stderr,
        **{str(axis): x for axis, x in columns.x.items()},
        **further,
    }
    for name, column in sized.items():
        if len(column) != rows:
            raise _error("ragged", name, f"has {len(column)} rows and arm has {rows}", "give columns of one length")
    if not rows:
        raise _error("empty", "curves", "there are no rows", "give at least one row per arm, seed and metric")


def _check_ranges(columns: Columns) -> None:
    for axis, x in columns.x.items():
        if np.any(x < 0):
            raise _error("negative", axis, f"{np.nanmin(x):g} is negative", "count from the start of training")
        if axis == "tokens" and not np.isfinite(x).all():
            raise _error("no-tokens", axis, "a row has no finite number of tokens", "give every point its tokens")
    if np.any(columns.stderr < 0):
        raise _error("negative", "stderr", "a standard error is negative", "leave unknown ones NaN")
    if np.any(np.isposinf(columns.stderr) & np.isfinite(columns.value)):
        raise _error("infinite", "stderr", "the standard error of a finite value is infinite", "leave unknown ones NaN")


def _sorted(columns: Columns, order: NDArray[np.intp]) -> Columns:
    return Columns(
        columns.metric[order],
        columns.arm[order],
        columns.seed[order],
        {axis: x[order] for axis, x in columns.x.items()},
        columns.value[order],
        columns.stderr[order],
    )


def _check_runs(columns: Columns, further: dict[str, FloatArray]) -> None:
    """Within one metric of one run: no point twice, and every axis rises with tokens, as do further columns."""
    same = (
        (columns.metric[1:] == columns.metric[:-1])
        & (columns.arm[1:] == columns.arm[:-1])
        & (columns.seed[1:] == columns.seed[:-1])
    )
    rising: dict[str, FloatArray] = {**{str(axis): x for axis, x in columns.x.items()}, **further}
    for axis, x in rising.items():
        step = np.diff(x)
        bad = np.flatnonzero(same & ((step == 0) if axis == "tokens" else (step < 0)))
        if not bad.size:
            continue
        i = int(bad[0])
        run = f"{columns.metric[i]} of arm {str(columns.arm[i])!r}, seed {columns.seed[i]}"
        if axis == "tokens":
            problem = f"{run} has two points at {x[i]:,.0f} tokens"
            raise _error("duplicate", axis, problem, "keep one row per metric, arm, seed and tokens")
        problem = f"{run}: tokens decrease with rising {axis}, from {x[i + 1]:g} to {x[i]:g} {axis}"
        raise _error("decreasing", axis, problem, "drop the points that a resumed attempt supersedes")


def _check_plan(columns: Columns, plan: AnalysisPlan) -> None:
    arms = np.unique(columns.arm).tolist()
    for role in ("baseline", "candidate"):
        if getattr(plan, role) not in arms:
            problem = f"the plan's {role} {getattr(plan, role)!r} has no rows; the arms are {arms}"
            raise _error("unknown-arm", "arm", problem, f"name one of them as plan.{role}, or add its rows")
    for arm in plan.tuned:
        if arm not in arms:
            problem = f"the plan's tuned arm {arm!r} has no rows; the arms are {arms}"
            raise _error("unknown-arm", "arm", problem, "leave it out of plan.tuned, or add its rows")
    metrics = np.unique(columns.metric).tolist()
    for metric in plan.metrics:
        if metric.name not in metrics:
            problem = f"the plan's metric {metric.name!r} has no rows; the metrics are {metrics}"
            raise _error("unknown-metric", "metric", problem, "measure it, or leave it out of plan.metrics")
