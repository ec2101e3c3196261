"""Reads of the documented views: filters on columns, pages by cursor, or all rows in batches."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from sqlalchemy import Engine, TextClause, bindparam, text

from crossover.errors import RegistryError
from crossover.registry.registry_records import QueryResult

BATCH = 10_000
KEYS: Mapping[str, tuple[str, ...]] = {
    "v_curves": ("study_digest", "cell", "arm", "seed", "metric", "estimator", "draws", "step"),
    "v_runs": ("study_digest", "cell", "arm", "seed", "run_digest"),
    "v_verdicts": ("study_digest", "cell", "metric", "axis", "comparison", "baseline"),
    "v_deployments": ("deployed_at", "study_digest", "step"),
    "v_attempts": ("study_digest", "cell", "arm", "seed", "attempt", "run_digest"),
    "v_datasets": ("study_digest", "dataset_digest"),
    "v_evaluations": ("study_digest", "cell", "arm", "seed", "task", "score", "estimator", "draws", "step"),
    "v_serving": ("measured_at", "study_digest", "cell", "arm", "seed", "step", "concurrency"),
    "v_serving_crossovers": ("measured_at", "study_digest", "baseline_checkpoint", "candidate_checkpoint"),
    "v_superseded": ("study_digest", "cell", "arm", "seed", "metric", "estimator", "draws", "attempt", "step"),
}
"""The columns that tell a view's rows apart within a namespace, in the order of its pages."""


@dataclass(frozen=True)
class Page:
    """Some rows, and where the next ones begin; no cursor after the last ones."""

    rows: QueryResult
    cursor: str | None


def read_page(
    engine: Engine,
    view: str,
    filters: Mapping[str, object],
    *,
    namespaces: Collection[str] | None,
    cursor: str | None,
    limit: int,
) -> Page:
    """One page of a view.

    Args:
        engine: of the registry.
        view: one of KEYS.
        filters: column to the value that it must have.
        namespaces: only rows of these; None is all.
        cursor: of the page before; None for the first.
        limit: largest number of rows.

    Raises:
        RegistryError: `registry.bad-cursor` for a cursor that this view did not give.
    """
    keys = ("namespace", *KEYS[view])
    after = None if cursor is None else _decoded(cursor, len(keys))
    statement, values = _statement(view, keys, filters, namespaces, after, limit + 1)
    with engine.connect() as connection:
        result = connection.execute(statement, values)
        columns, rows = tuple(result.keys()), [tuple(row) for row in result]
    places = [columns.index(key) for key in keys]
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    following = _encoded([last[place] for place in places]) if last is not None else None
    return Page(QueryResult(columns, tuple(rows[:limit]), truncated=more), following)


def read_all(
    engine: Engine, view: str, filters: Mapping[str, object], *, namespaces: Collection[str] | None
) -> Iterator[QueryResult]:
    """All rows of a view in batches of `BATCH`, at least one; the first is read at once. Arguments as `read_page`."""
    batches = _batches(engine, view, filters, namespaces)
    return chain((next(batches),), batches)


def _batches(
    engine: Engine, view: str, filters: Mapping[str, object], namespaces: Collection[str] | None
) -> Iterator[QueryResult]:
    statement, values = _statement(view, ("namespace", *KEYS[view]), filters, namespaces, None, None)
    with engine.connect() as connection:
        result = connection.execution_options(stream_results=True).execute(statement, values)
        columns, empty = tuple(result.keys()), True
        for rows in result.partitions(BATCH):
            yield QueryResult(columns, tuple(tuple(row) for row in rows))
            empty = False
        if empty:
            yield QueryResult(columns, ())


def _statement(
    view: str,
    keys: Sequence[str],
    filters: Mapping[str, object],
    namespaces: Collection[str] | None,
    after: Sequence[object] | None,
    limit: int | None,
) -> tuple[TextClause, dict[str, object]]:
    """Names of columns come from the code alone; values are bound."""
    values: dict[str, object] = {f"f_{name}": value for name, value in filters.items()}
    conditions = [f"{name} = :f_{name}" for name in filters]
    if namespaces is not None:
        conditions.append("namespace IN :namespaces")
        values["namespaces"] = sorted(namespaces)
    if after is not None:
        conditions.append(f"({', '.join(keys)}) > ({', '.join(f':k_{key}' for key in keys)})")
        values |= {f"k_{key}": value for key, value in zip(keys, after, strict=True)}
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    end = "" if limit is None else f" LIMIT {limit:d}"
    statement = text(f"SELECT * FROM {view}{where} ORDER BY {', '.join(keys)}{end}")  # noqa: S608 - see above
    return statement.bindparams(
        bindparam("namespaces", expanding=True)
    ) if namespaces is not None else statement, values


def _encoded(key: Sequence[object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key, default=str).encode()).decode().rstrip("=")


def _decoded(cursor: str, parts: int) -> list[object]:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        key = None
    if not isinstance(key, list) or len(key) != parts or not all(isinstance(k, str | int) for k in key):
        raise RegistryError(
            "registry.bad-cursor",
            field="cursor",
            problem="is not one that a page of this view gave",
            remedy="start without a cursor, and pass on the cursor of each page",
        )
    return key
