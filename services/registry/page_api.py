"""The page of the API: its addresses from the OpenAPI document, without anything from other hosts."""

from __future__ import annotations

from typing import Any


def operations(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """By tag the operations of an OpenAPI document: method, address, purpose, parameters and fields of the body."""
    schemas = document.get("components", {}).get("schemas", {})
    sections: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            row = {
                "method": method.upper(),
                "path": path,
                "does": operation.get("description", operation.get("summary", "")),
                "parameters": [p["name"] for p in operation.get("parameters", []) if p["in"] != "path"],
                "body": _fields(operation, schemas),
            }
            sections.setdefault(operation.get("tags", ["other"])[0], []).append(row)
    return sections


def _fields(operation: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    """The names of a body's fields, the optional ones with a question mark."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    schema = schemas.get(name, {})
    required = set(schema.get("required", ()))
    return [field if field in required else f"{field}?" for field in schema.get("properties", {})]
