"""Counts of parts of a corpus, added up in the order of the parts: what one process would have counted."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from crossover.data.sources.bad_documents import PLACES_SHOWN
from crossover.data.sources.source_counts import SourceCounts


@cache
def _adapter() -> TypeAdapter[SourceCounts]:
    return TypeAdapter(SourceCounts)


def counts_text(counts: SourceCounts) -> str:
    """Counts as JSON; how far the reading is, is left out."""
    return _adapter().dump_json(counts, exclude={"parts": {"__all__": {"bytes_read"}}}).decode()


def counts_of(text: str) -> SourceCounts:
    """Counts from `counts_text`."""
    return _adapter().validate_json(text)


def counts_value(counts: SourceCounts) -> dict[str, Any]:
    """Counts as JSON values, for a manifest."""
    return dict(json.loads(counts_text(counts)))


def counts_from(value: object) -> SourceCounts:
    """Counts from `counts_value`."""
    return _adapter().validate_python(value)


def add_counts(total: Any, more: Any) -> None:  # noqa: ANN401 - any dataclass of counts
    """Add the counts of the next part: whole numbers are summed, histograms bin by bin, of examples the first few stay.

    Args:
        total: a dataclass of counts; changed in place.
        more: one of the same type.
    """
    for one in fields(total):
        mine, other = getattr(total, one.name), getattr(more, one.name)
        if isinstance(mine, bool):
            setattr(total, one.name, mine or other)
        elif isinstance(mine, int):
            setattr(total, one.name, mine + other)
        elif is_dataclass(mine):
            add_counts(mine, other)
        elif isinstance(mine, dict):
            _add_by_key(mine, other)
        elif isinstance(mine, list):
            _add_list(mine, other)


def _add_by_key(mine: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, list):
            mine[key] = (mine.get(key, []) + value)[:PLACES_SHOWN]
        else:
            mine[key] = mine.get(key, 0) + value


def _add_list(mine: list[Any], other: list[Any]) -> None:
    """Bins and steps of the cleaning by their places; texts, such as licences, one after the other."""
    if other and isinstance(other[0], str):
        mine += other
        return
    for place, value in enumerate(other):
        if place == len(mine):
            mine.append(deepcopy(value))
        elif is_dataclass(value):
            add_counts(mine[place], value)
        else:
            mine[place] += value


def clear_counts(counts: Any) -> None:  # noqa: ANN401 - any dataclass of counts
    """Set counts to nothing in place; names, and the list of the cleaning's steps, stay."""
    for one in fields(counts):
        value = getattr(counts, one.name)
        if isinstance(value, int):
            setattr(counts, one.name, type(value)())
        elif is_dataclass(value):
            clear_counts(value)
        elif isinstance(value, list) and value and is_dataclass(value[0]):
            for part in value:
                clear_counts(part)
        elif isinstance(value, list | dict):
            value.clear()
