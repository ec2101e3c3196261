"""Addresses of pages: names are encoded, what is empty is left out, and what was chosen for all pages stays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from urllib.parse import quote, urlencode

from crossover.registry.wire_format import NAMESPACE

_KEPT = {"namespace": NAMESPACE, "theme": "^(light|dark)$", "axis": "^(epochs|tokens|flops|seconds)$"}
"""Parameter of an address that all links of its page keep, and what it may be."""
_DIGITS = 20
_carried: ContextVar[Mapping[str, str]] = ContextVar("carried", default={})  # noqa: B039 - never changed


def carry(query: Mapping[str, str]) -> None:
    """Keep what concerns all pages, from here on in this request: namespace, theme and axis."""
    _carried.set({name: query[name] for name, may in _KEPT.items() if re.fullmatch(may, query.get(name, ""))})


def carried() -> Mapping[str, str]:
    """What all links of this request keep."""
    return _carried.get()


def with_query(path: str, query: Mapping[str, object], fragment: str = "") -> str:
    """A path with those parameters that are not empty, and those that all links keep."""
    kept = {name: value for name, value in carried().items() if name not in query}
    kept = {name: str(value) for name, value in {**query, **kept}.items() if value not in ("", None)}
    return path + (f"?{urlencode(kept)}" if kept else "") + (f"#{fragment}" if fragment else "")


def study_path(namespace: str, name: str) -> str:
    """The page of a study, without a query."""
    return f"/studies/{quote(namespace, safe='')}/{quote(name, safe='')}"


def study_address(namespace: str, name: str, **query: object) -> str:
    """The page of a study."""
    return with_query(study_path(namespace, name), query)


def run_address(digest: str, *, fragment: str = "", **query: object) -> str:
    """The page of a run: the beginning of its digest will do."""
    return with_query(f"/runs/{_shortened(digest)}", query, fragment)


def dataset_address(digest: str) -> str:
    """The page of a prepared corpus: the beginning of its digest will do."""
    return with_query(f"/datasets/{_shortened(digest)}", {})


def _shortened(digest: str) -> str:
    name = digest.removeprefix("sha256:")[:_DIGITS] if re.fullmatch("sha256:[0-9a-f]{64}", digest) else digest
    return quote(name, safe="")


def figure_address(digest: str, **query: object) -> str:
    """A figure of an analysis as a picture."""
    return with_query(f"/figures/{quote(digest, safe='')}", query)
