"""Curves that were measured elsewhere as runs of the registry, each named by the digest of its points."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.curve_files import CurveTable, cell_column
from crossover.files import digest_of
from crossover.registry import MetricDef, Point, Registry
from crossover.study.identity import RunId

_COLUMNS = ("tokens", "step", "flops", "seconds", "value", "stderr")
_BATCH = 2000
"""Points written by one transaction."""
_EXACT = 2.0**53
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class ImportedRun:
    """One run: where its rows are in the table, and what they are named by."""

    id: RunId
    digest: str
    rows: dict[str, Rows]
    """Of each metric, by rising tokens."""
    unique_tokens: int | None


def imported_runs(table: CurveTable, unique_tokens: Mapping[str, int | None]) -> list[ImportedRun]:
    """The runs of a table by cell, arm and seed; equal rows give equal digests, in whichever order and file they are.

    Args:
        table: a long table whose seeds are whole numbers, as the analysis has checked.
        unique_tokens: of each cell; None where they are not known.
    """
    cells, arms, metrics = cell_column(table), table.names["arm"], table.names["metric"]
    seeds, tokens = table.numbers["seed"], table.numbers["tokens"]
    order = np.lexsort((tokens, metrics.code_R, seeds, arms.code_R, cells.code_R))
    keys = np.stack([cells.code_R[order], arms.code_R[order], seeds[order]], axis=1)
    starts = np.flatnonzero(np.any(keys[1:] != keys[:-1], axis=1)) + 1
    runs = []
    for rows in np.split(order, starts):
        cell, arm = cells.names[cells.code_R[rows[0]]], arms.names[arms.code_R[rows[0]]]
        codes = metrics.code_R[rows]
        by_metric = {metrics.names[code]: rows[codes == code] for code in np.unique(codes).tolist()}
        identity = RunId(cell, arm, int(seeds[rows[0]]))
        facts = {"imported": identity.key, "unique_tokens": unique_tokens[cell]}
        points = {metric: _digest(table, held) for metric, held in by_metric.items()}
        digest = digest_of(facts | {"points": points})
        runs.append(ImportedRun(identity, digest, dict(sorted(by_metric.items())), unique_tokens[cell]))
    return sorted(runs, key=lambda run: (run.id.cell, run.id.arm, run.id.seed))


def _digest(table: CurveTable, rows: Rows) -> str:
    digest = hashlib.sha256()
    for name in _COLUMNS:
        column = table.numbers[name][rows] if name in table.numbers else np.full(rows.size, np.nan)
        canonical = np.where(np.isnan(column), np.nan, column) + 0.0  # one NaN, one zero
        digest.update(canonical.astype("<f8").tobytes())
    return digest.hexdigest()


def record_runs(
    registry: Registry, study_digest: str, table: CurveTable, runs: Sequence[ImportedRun], plan: AnalysisPlan
) -> int:
    """Record the runs that the registry does not have, and link all of them to the study.

    An import that was killed goes on with the run that it was at.

    Args:
        registry: to write.
        study_digest: of a registered study.
        table: of `runs`.
        runs: of `imported_runs`.
        plan: says which side of a metric is better; of one that it does not name neither is.

    Returns:
        How many were new.
    """
    done = _done(registry, [run.digest for run in runs])
    for run in runs:
        config = {"imported": True, "metrics": list(run.rows)}
        registry.register_run(study_digest, run.id, run.digest, config=config, epoch_tokens=run.unique_tokens)
        if run.digest not in done:
            attempt = registry.start_attempt(run.digest, started_step=0)
            for metric, rows in run.rows.items():
                for points in _points(table, rows):
                    attempt.record(_metric(metric, plan), points)
            attempt.finish("done")
    return len(runs) - len(done)


def _done(registry: Registry, digests: Sequence[str]) -> set[str]:
    """Those of some runs that are in the registry as a whole."""
    listed = ", ".join(f"'{digest}'" for digest in digests)
    sql = f"SELECT DISTINCT run_digest FROM v_runs WHERE status = 'done' AND run_digest IN ({listed})"  # noqa: S608 - digests
    return {str(digest) for (digest,) in registry.query(sql, limit=len(digests)).rows}


def _metric(name: str, plan: AnalysisPlan) -> MetricDef:
    direction = next((metric.direction for metric in plan.metrics if metric.name == name), "none")
    return MetricDef(name=name, unit="", direction=direction, estimator="none")


def _points(table: CurveTable, rows: Rows) -> Iterator[list[Point]]:
    """The points of a metric of a run, in batches; FLOPs and seconds that the file does not say are 0."""
    steps = _steps(table, rows)
    for start in range(0, rows.size, _BATCH):
        batch = rows[start : start + _BATCH]
        columns = {name: table.numbers[name][batch].tolist() for name in _COLUMNS if name in table.numbers}
        unknown = [math.nan] * batch.size
        yield [
            Point(
                step=step,
                tokens=round(columns["tokens"][i]),
                flops=_known(columns.get("flops", unknown)[i]),
                seconds=_known(columns.get("seconds", unknown)[i]),
                value=columns["value"][i],
                stderr=columns.get("stderr", unknown)[i],
            )
            for i, step in enumerate(steps[start : start + _BATCH])
        ]


def _known(spent: float) -> float:
    return 0.0 if math.isnan(spent) else spent


def _steps(table: CurveTable, rows: Rows) -> list[int]:
    """The optimizer steps; tokens in their place where the file has no steps, or not one of its own for each point."""
    step = table.numbers["step"][rows] if "step" in table.numbers else np.empty(0)
    usable = step.size > 0 and bool(np.all((step >= 0) & (step < _EXACT) & (step == np.floor(step))))
    if not usable or np.unique(step).size < step.size:
        step = np.round(table.numbers["tokens"][rows])
    return [int(number) for number in step.tolist()]
