"""The routes of the playground: the page at `/`, its files under their digest, and the examples; and CORS."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from crossover.errors import WorkspaceError
from crossover.report import page_design

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_KINDS = {"css": "text/css", "js": "text/javascript"}
_HOST = re.compile(r"[A-Za-z0-9.-]+")
"""A policy cannot name an IPv6 address."""


class Example(BaseModel):
    """A passage that the model was not trained on, in two parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str
    continuation: str


def read_examples(path: Path) -> list[Example]:
    """The examples of a file, which `crossover serve` writes from a study's held-out text.

    Args:
        path: JSON, a list of {"prompt": …, "continuation": …}.

    Raises:
        WorkspaceError: there is no such file, or it does not hold examples.
    """
    try:
        return TypeAdapter(list[Example]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise WorkspaceError(
            "serve.bad-examples",
            field="--examples",
            problem=f"{path} holds no examples ({first})",
            remedy='give a JSON list of {"prompt": …, "continuation": …}, or leave the flag out',
        ) from error


def add_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """An application that lets pages of other origins call it, so that a playground can show it beside another one.

    Args:
        app: with every other middleware, so that its errors can be read, too.
        origins: such as http://localhost:8080; `*` is every origin; none changes nothing.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=["content-type"],
        expose_headers=["retry-after"],
    )


def playground_router(examples: Sequence[Example] = ()) -> APIRouter:
    """The routes; KServe's own `GET /` is answered as before to clients that do not accept HTML.

    Args:
        examples: shown as buttons.
    """
    files = _files()
    digest = hashlib.sha256("".join(files.values()).encode()).hexdigest()[:12]
    page = _static("page.html").replace("DIGEST", digest)
    router = APIRouter(include_in_schema=False)

    async def root(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"status": "alive"}, headers={"Vary": "Accept"})
        headers = HEADERS | {
            "Content-Security-Policy": policy(request.query_params.get("other", "")),
            "Cache-Control": "no-cache",
            "Vary": "Accept",
        }
        return Response(page, media_type="text/html", headers=headers)

    async def file(name: str) -> Response:
        if name not in files:
            return Response(status_code=404)
        headers = HEADERS | {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(files[name], media_type=_KINDS[name.rpartition(".")[2]], headers=headers)

    async def shown_examples() -> Response:
        body = json.dumps([example.model_dump() for example in examples])
        return Response(body, media_type="application/json", headers=HEADERS | {"Cache-Control": "no-cache"})

    router.add_api_route("/", root)
    router.add_api_route("/playground/examples.json", shown_examples)
    router.add_api_route("/playground/{digest}/{name}", file)
    return router


def policy(other: str) -> str:
    """The page's Content-Security-Policy: it connects to this server, and to the other one that its address names.

    Args:
        other: base URL of another predictor; what is not one is left out.
    """
    origin = _origin(other)
    return (
        f"default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; connect-src 'self'{origin}; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _origin(url: str) -> str:
    """Origin of an HTTP URL after a space; empty if it has none, or one that a policy cannot name."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        return ""
    return f" {parts.scheme}://{host}" + (f":{port}" if port is not None else "")


def _files() -> dict[str, str]:
    """Style sheet and scripts by name; the style sheet after that of all our pages."""
    folder = resources.files("crossover_services.predictor.playground").joinpath("static")
    files = {item.name: item.read_text("utf-8") for item in folder.iterdir() if item.name != "page.html"}
    return files | {"page.css": f"{page_design.css()}\n{files['page.css']}"}


def _static(name: str) -> str:
    return resources.files("crossover_services.predictor.playground").joinpath("static", name).read_text("utf-8")
