"""Addresses of pages: names are encoded, and what is empty or as usual is left out."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode


def with_query(path: str, query: Mapping[str, object], fragment: str = "") -> str:
    """A path with those parameters that are not empty."""
    kept = {name: str(value) for name, value in query.items() if value not in ("", None)}
    return path + (f"?{urlencode(kept)}" if kept else "") + (f"#{fragment}" if fragment else "")


def study_address(namespace: str, name: str, **query: object) -> str:
    """The page of a study."""
    return with_query(f"/studies/{quote(namespace, safe='')}/{quote(name, safe='')}", query)


def run_address(digest: str, **query: object) -> str:
    """The page of a run."""
    return with_query(f"/runs/{quote(digest, safe='')}", query)


def figure_address(digest: str, **query: object) -> str:
    """A figure of an analysis as a picture."""
    return with_query(f"/figures/{quote(digest, safe='')}", query)
