"""Values that values.schema.json allows: all of them for hypothesis, and one other than the default for each."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tests.charts.rendering import CHART

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference leads to."""
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def schema_at(path: str) -> dict[str, Any]:
    """The schema of a value, such as `registry.replicas`."""
    schema = resolve(SCHEMA)
    for name in path.split("."):
        schema = resolve(schema["properties"][name])
    return schema


def drawn(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a schema; those that are Kubernetes' own come from its examples."""
    schema = resolve(schema)
    if "examples" in schema:
        return st.sampled_from(schema["examples"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "properties" in schema:
        fields = {name: drawn(field) for name, field in schema["properties"].items() if name != "global"}
        required = set(schema.get("required", ()))
        return st.fixed_dictionaries(
            {name: fields[name] for name in required},
            optional={name: field for name, field in fields.items() if name not in required},
        )
    return st.one_of(*(_of_type(kind, schema) for kind in _types(schema)))


def other(schema: dict[str, Any], default: Any) -> Any:  # noqa: ANN401 - any YAML
    """A value of a schema that is not the default."""
    schema = resolve(schema)
    for candidate in (*schema.get("examples", ()), *schema.get("enum", ()), *_CANDIDATES, 1, 2):
        if candidate not in (default, {}, []) and type(candidate) is not bool and fits(schema, candidate):
            return candidate
    if schema.get("type") == "boolean":
        return not default
    if schema.get("type") in ("number", "integer"):
        return default + 1 if default + 1 <= schema.get("maximum", default + 1) else default / 2
    if schema.get("type") == "array":
        return [other(schema["items"], None)]
    if schema.get("properties"):
        return {name: other(field, (default or {}).get(name)) for name, field in schema["properties"].items()}
    raise AssertionError(schema)


_CANDIDATES = (
    "other",
    "other.example.org",
    "https://other.example.org",
    "s3://other/place",
    "sha256:" + "a" * 64,
    "7Gi",
    "7s",
    "1 2 3 4 5",
)


def fits(schema: dict[str, Any], value: object) -> bool:
    """Whether a schema allows a value."""
    return bool(Draft7Validator({**schema, "$defs": SCHEMA["$defs"]}).is_valid(value))


def _types(schema: dict[str, Any]) -> list[str]:
    kinds = schema["type"]
    return kinds if isinstance(kinds, list) else [kinds]


def _of_type(kind: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum", 10**6))
        case "number":
            least = schema["exclusiveMinimum" if "exclusiveMinimum" in schema else "minimum"]
            return st.integers(int(least * 100) + 1, int(schema["maximum"] * 100)).map(lambda n: n / 100)
        case "string":
            pattern = schema["pattern"].replace("^", r"\A").replace("$", r"\Z")
            return st.from_regex(pattern)
        case "array":
            items = drawn(schema["items"])
            unique = json.dumps if schema.get("uniqueItems") else None
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=3, unique_by=unique)
    raise AssertionError(schema)
