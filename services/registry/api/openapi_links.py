"""Links of the OpenAPI document: which requests may follow an answer, and what their addresses take from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OF_STUDY = {"study": "$request.body#/digest"}
OF_RUN = {"run": "$request.body#/digest"}
OF_ATTEMPT = {"run": "$request.path.run", "n": "$response.body#/n"}
SAME_ATTEMPT = {"run": "$request.path.run", "n": "$request.path.n"}


def links(status: int, operations: Mapping[str, Mapping[str, str]]) -> dict[int | str, dict[str, Any]]:
    """The argument `responses` of a route.

    Args:
        status: of the answer that is followed.
        operations: name of a route to its parameters, as runtime expressions of OpenAPI.
    """
    return {status: {"links": {name: {"operationId": name, "parameters": dict(of)} for name, of in operations.items()}}}


def rows_of(view: str, **filters: str) -> dict[str, dict[str, str]]:
    """The rows of a view that tell of what was just recorded."""
    return {"read_view": {"view": view, **filters}}
