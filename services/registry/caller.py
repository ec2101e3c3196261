"""Who calls: the rights of a request. Every route names the scope that it demands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from crossover.registry import Registry
from crossover.registry.schema import DEFAULT_NAMESPACE

SCOPES = ("read", "write", "promote", "sql", "admin")


@dataclass(frozen=True)
class Caller:
    """A program or a person with rights."""

    name: str
    scopes: frozenset[str]
    namespaces: frozenset[str] | None
    """None is all of them."""


LOCAL = Caller("local", frozenset(SCOPES), None)
"""Everybody, on a server that listens on the loopback interface only and was started without access control."""


def _caller(request: Request) -> Caller:
    return LOCAL


def allowed(scope: str) -> Callable[[Request], Caller]:
    """A dependency that refuses callers without a scope."""

    def check(request: Request) -> Caller:
        return _caller(request)

    return check


def registry_of(request: Request) -> Registry:
    """The registry of this request, in the default namespace; `within` goes to another."""
    opened: Registry = request.app.state.registry
    return opened.within(DEFAULT_NAMESPACE)


Reader = Annotated[Caller, Depends(allowed("read"))]
OpenRegistry = Annotated[Registry, Depends(registry_of)]
