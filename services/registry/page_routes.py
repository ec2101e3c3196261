"""Web pages: studies, runs, data sets, deployments. Each has a JSON twin under the same address."""

from __future__ import annotations

from typing import Annotated

from crossover_services.registry import (
    page_api,
    page_assets,
    page_compare,
    page_dataset,
    page_lists,
    page_overview,
    page_response,
    page_run,
    page_study,
    page_study_data,
    page_study_list,
)
from crossover_services.registry.access_control import Namespaces, OpenRegistry, Reader
from fastapi import APIRouter, HTTPException, Query, Request, Response

from crossover.registry.reads.study_list import SortKey

router = APIRouter(include_in_schema=False, route_class=page_response.PageRoute)
Text = Annotated[str, Query(max_length=500)]
PageNumber = Annotated[int, Query(ge=1, le=100_000)]


@router.get("/")
def studies(
    request: Request,
    _caller: Reader,
    namespaces: Namespaces,
    registry: OpenRegistry,
    q: Text = "",
    status: Text = "",
    sort: SortKey = "newest",
    page: PageNumber = 1,
) -> Response:
    """Every study with its verdict; the first page."""
    shown = page_study_list.study_list(registry, namespaces, search=q, status=status, sort=sort, number=page)
    values = shown | {"q": q, "status": status, "sort": sort, "sorts": page_study_list.SORTS}
    return page_response.respond(request, "page_studies.html", lambda: page_study_list.as_data(shown), values)


@router.get("/docs")
def api(request: Request, _caller: Reader, _namespaces: Namespaces) -> Response:
    """Every address of the API."""
    shown = page_api.operations(request.app.openapi())
    return page_response.respond(request, "page_api.html", lambda: shown, {"sections": shown})


@router.get("/studies")
def studies_again(request: Request, _caller: Reader) -> Response:
    """The first page, under the name that people guess."""
    query = f"?{request.url.query}" if request.url.query else ""
    return Response(status_code=307, headers={"Location": f"/{query}"})


@router.get("/studies/{team}/{name:path}")
def study(
    request: Request,
    _caller: Reader,
    namespaces: Namespaces,
    registry: OpenRegistry,
    team: str,
    name: str,
    revision: Text = "",
    cell: Text = "",
    metric: Text = "",
    axis: Text = "",
    comparison: Text = "",
    show: Text = "",
) -> Response:
    """A study: its verdict, curves, runs and history; while it runs, how far it is."""
    chosen = page_study.Choice(revision=revision, cell=cell, metric=metric, axis=axis, comparison=comparison, show=show)
    shown = page_study.study_page(registry, namespaces, team, name, chosen)
    return page_response.respond(request, "page_study.html", lambda: page_study_data.as_data(shown), {"s": shown})


@router.get("/figures/{digest}")
def figure(
    _caller: Reader,
    namespaces: Namespaces,
    registry: OpenRegistry,
    digest: str,
    metric: Text = "",
    axis: Text = "",
    comparison: Text = "",
    size: Text = "wide",
) -> Response:
    """A figure of an analysis as a picture that follows light and dark mode."""
    chosen = {"metric": metric, "axis": axis, "comparison": comparison}
    drawing = page_overview.picture(registry, namespaces, digest, **chosen, small=size == "small")
    headers = page_response.HEADERS | {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        "Cache-Control": "private, max-age=86400",
    }
    return Response(drawing, media_type="image/svg+xml", headers=headers)


@router.get("/runs/{name:path}")
def run(
    request: Request,
    _caller: Reader,
    namespaces: Namespaces,
    registry: OpenRegistry,
    name: str,
    metric: Text = "",
    axis: Text = "",
    task: Text = "",
) -> Response:
    """A run: its curves, attempts, checkpoints, scores, and what it was trained with."""
    shown = page_run.run_page(registry, namespaces, name, metric=metric, axis=axis, task=task)
    return page_response.respond(request, "page_run.html", lambda: page_run.as_data(shown), {"r": shown})


@router.get("/datasets")
def datasets(
    request: Request,
    _caller: Reader,
    namespaces: Namespaces,
    registry: OpenRegistry,
    q: Text = "",
    page: PageNumber = 1,
) -> Response:
    """Prepared corpora."""
    shown = page_lists.dataset_page(registry, namespaces, q, page)
    return page_response.respond(request, "page_datasets.html", lambda: shown, shown | {"q": q})


@router.get("/datasets/{name}")
def dataset(request: Request, _caller: Reader, namespaces: Namespaces, registry: OpenRegistry, name: str) -> Response:
    """A prepared corpus: its data card, and the studies that have it."""
    shown = page_dataset.dataset_page(registry, namespaces, name)
    return page_response.respond(request, "page_dataset.html", lambda: page_dataset.as_data(shown), {"d": shown})


@router.get("/deployments")
def deployments(
    request: Request,
    _caller: Reader,
    namespaces: Namespaces,
    registry: OpenRegistry,
    q: Text = "",
    page: PageNumber = 1,
) -> Response:
    """What is served now, why, and what was served before."""
    shown = page_lists.deployment_page(registry, namespaces, q, page)
    return page_response.respond(request, "page_deployments.html", lambda: shown, shown | {"q": q})


@router.get("/compare")
def compare(
    request: Request, _caller: Reader, namespaces: Namespaces, registry: OpenRegistry, a: Text = "", b: Text = ""
) -> Response:
    """Two studies side by side."""
    shown = page_compare.compare_page(registry, namespaces, a, b)
    return page_response.respond(request, "page_compare.html", lambda: page_compare.as_data(shown), {"c": shown})


@router.get("/static/{digest}/{file}")
def static(digest: str, file: str) -> Response:
    """A style sheet or script."""
    found = page_assets.asset(file)
    if found is None:
        raise HTTPException(404, f"there is no file {file} of {digest}")
    return found
