"""Reads: the documented views by filters, pages and formats, analyses, and SELECTs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from crossover_services.registry.access_control import Allowed, Caller, Namespaces, OpenRegistry, Reader, TeamRegistry
from crossover_services.registry.api.write_routes import StudyDigest
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from crossover.errors import RequestError
from crossover.registry import QueryResult
from crossover.registry.export_views import arrow_batch, arrow_schema
from crossover.registry.reads.study_results import analysis_result
from crossover.registry.view_reads import read_all, read_page
from crossover.registry.wire_format import SqlBody, number_json

Sql = Annotated[Caller, Depends(Allowed("sql", everywhere=True))]
View = Literal[
    "curves",
    "runs",
    "verdicts",
    "deployments",
    "attempts",
    "datasets",
    "evaluations",
    "serving",
    "superseded",
    "serving_crossovers",
]
_TYPES = {"json": "application/json", "csv": "text/csv", "arrow": "application/vnd.apache.arrow.stream"}
_FILTERS = {
    "curves": {"cell", "quality_tier", "arm", "seed", "metric", "estimator"},
    "runs": {"cell", "quality_tier", "arm", "seed", "status", "run_digest"},
    "verdicts": {"cell", "quality_tier", "metric", "axis", "comparison", "outcome", "newest"},
    "deployments": {"cell", "quality_tier", "arm", "seed", "current"},
    "attempts": {"cell", "quality_tier", "arm", "seed", "end_reason", "run_digest"},
    "datasets": {"dataset_digest"},
    "evaluations": {"cell", "quality_tier", "arm", "seed", "task", "run_digest"},
    "serving": {"cell", "quality_tier", "arm", "seed", "run_digest"},
    "serving_crossovers": {"outcome", "newest"},
    "superseded": {"cell", "quality_tier", "arm", "seed", "metric", "estimator"},
}
router = APIRouter()


class Filters:
    """Columns and the values that they must have."""

    def __init__(
        self,
        request: Request,
        view: View,
        study: Annotated[str | None, Query(max_length=250)] = None,
        study_digest: Annotated[str | None, Query(max_length=200)] = None,
        run_digest: Annotated[str | None, Query(max_length=500)] = None,
        dataset_digest: Annotated[str | None, Query(max_length=200)] = None,
        cell: Annotated[str | None, Query(max_length=250)] = None,
        quality_tier: Annotated[str | None, Query(max_length=20)] = None,
        arm: Annotated[str | None, Query(max_length=100)] = None,
        seed: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
        metric: Annotated[str | None, Query(max_length=250)] = None,
        estimator: Annotated[str | None, Query(max_length=20)] = None,
        task: Annotated[str | None, Query(max_length=100)] = None,
        axis: Annotated[str | None, Query(max_length=20)] = None,
        comparison: Annotated[str | None, Query(max_length=20)] = None,
        outcome: Annotated[str | None, Query(max_length=40)] = None,
        status: Annotated[str | None, Query(max_length=20)] = None,
        end_reason: Annotated[str | None, Query(max_length=20)] = None,
        newest: Annotated[int | None, Query(ge=0, le=1)] = None,
        current: Annotated[int | None, Query(ge=0, le=1)] = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "request", "view")}
        self.values = {name: value for name, value in given.items() if value is not None}
        known = _FILTERS[view] | {"study", "study_digest"}
        unknown = sorted(set(request.query_params) - known - {"format", "cursor", "limit", "namespace"})
        if unknown:
            raise bad_query(unknown[0], f"is no filter of {view}", f"filter by {', '.join(sorted(known))}")
        for name in request.query_params:
            if len(request.query_params.getlist(name)) > 1:
                raise bad_query(name, "is given more than once", "give it once")
            if "\0" in request.query_params[name]:
                raise bad_query(name, "holds a zero byte", "leave it out")


@router.get("/{view}", tags=["views"], responses={200: {"content": {kind: {} for kind in _TYPES.values()}}})
def read_view(
    view: View,
    filters: Annotated[Filters, Depends()],
    registry: OpenRegistry,
    namespaces: Namespaces,
    _: Reader,
    format: Annotated[Literal["json", "csv", "arrow"], Query(description="CSV and Arrow have all rows")] = "json",
    cursor: Annotated[str | None, Query(max_length=4_000)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> Response:
    """Rows of a documented view, by filters on its columns: a page of JSON, or all of them as CSV or Arrow."""
    name = f"v_{view}"
    if format == "json":
        page = registry.reading(
            lambda engine: read_page(engine, name, filters.values, namespaces=namespaces, cursor=cursor, limit=limit)
        )
        return JSONResponse({"rows": _objects(page.rows), "cursor": page.cursor})
    batches = registry.reading(lambda engine: read_all(engine, name, filters.values, namespaces=namespaces))
    if format == "csv":
        return StreamingResponse(_csv(batches), media_type=_TYPES["csv"])
    return StreamingResponse(_arrow(batches), media_type=_TYPES["arrow"])


@router.get("/studies/{study}/cells/{cell}/curves", tags=["views"])
def curves(
    study: StudyDigest,
    cell: str,
    registry: TeamRegistry,
    _: Reader,
    metric: Annotated[list[str] | None, Query()] = None,
) -> dict[str, list[Any]]:
    """Current points of a cell as the columns that `crossover.analysis.analyse` takes."""
    columns = registry.curves(study, cell, metric)
    columns["value"] = [number_json(value) for value in columns["value"]]
    return columns


@router.get("/analyses/{digest}", tags=["verdicts"])
def analysis(digest: StudyDigest, registry: OpenRegistry, namespaces: Namespaces, _: Reader) -> dict[str, Any]:
    """An analysis as it was recorded, by its digest: the JSON of `crossover.analysis.analysis_result.Analysis`."""
    return dict(analysis_result(registry, namespaces, digest))


@router.post("/sql", tags=["views"])
def run_select(body: SqlBody, registry: OpenRegistry, _: Sql) -> dict[str, Any]:
    """One SELECT, which cannot write and reads every namespace."""
    result = registry.query(body.sql, limit=body.limit)
    rows = [[_json(value) for value in row] for row in result.rows]
    return {"columns": result.columns, "rows": rows, "truncated": result.truncated}


def bad_query(field: str, problem: str, remedy: str) -> RequestError:
    """An error in a query's parameter."""
    return RequestError("request.bad-query", field=field, problem=problem, remedy=remedy)


def _objects(table: QueryResult) -> list[dict[str, Any]]:
    return [{name: _json(value) for name, value in zip(table.columns, row, strict=True)} for row in table.rows]


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return number_json(value)
    return value if isinstance(value, str | int | bool | None) else str(value)


def _arrow(batches: Iterator[QueryResult]) -> Iterator[bytes]:
    """The stream format of Arrow's IPC."""
    import pyarrow as pa

    sink, writer = io.BytesIO(), None
    for table in batches:
        schema = arrow_schema(table.columns)
        writer = writer or pa.ipc.new_stream(sink, schema)
        if table.rows:
            writer.write_batch(arrow_batch(table.rows, schema))
        yield sink.getvalue()
        sink.seek(0)
        sink.truncate()
    if writer is not None:
        writer.close()
        yield sink.getvalue()


def _csv(batches: Iterator[QueryResult]) -> Iterator[str]:
    first = True
    for table in batches:
        text = io.StringIO()
        writer = csv.writer(text)
        if first:
            writer.writerow(table.columns)
        writer.writerows(table.rows)
        yield text.getvalue()
        first = False
