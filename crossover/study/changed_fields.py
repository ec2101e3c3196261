"""Which fields of a study differ between two of its revisions, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crossover.study.field_effects import FIELD_EFFECTS


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The fields that decide something and differ, as they were and as they are.

    Args:
        before: an earlier revision as JSON values by dotted field, such as `analysis.looks`; not all need be known.
        after: the later one.

    Returns:
        `5 seeds`, `no looks`, and `8 seeds`, `looks 5, 8`: the same fields in the same order.
    """
    fields = [
        field
        for field, effects in FIELD_EFFECTS.items()
        if any(effects) and field in before and before[field] != after.get(field)
    ]
    return [_words(field, before[field]) for field in fields], [_words(field, after.get(field)) for field in fields]


def dotted_fields(study: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a study's JSON by dotted field."""
    fields: dict[str, Any] = {}
    for field in FIELD_EFFECTS:
        value: Any = study
        for part in field.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        fields[field] = value
    return fields


def _words(field: str, value: object) -> str:
    name = field.rpartition(".")[2].replace("_", " ")
    if field == "seeds" and isinstance(value, list):
        return f"{len(value)} seeds"
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return f"{name} {', '.join(map(str, value))}" if value else f"no {name}"
    return f"{name} {value if isinstance(value, str | int | float) else json.dumps(value)}"
