"""The custom resource definitions of crds/: Kubernetes' own types in them are taken from the API server itself.

A predictor holds every field of a pod. Written out that is a megabyte, so a node of these files may say
`built-in: core.v1.PodSpec`, with `properties` and `required` of its own laid over those of the type.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

FOLDER = Path(__file__).parent / "crds"
QUANTITY: Schema = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
METADATA: Schema = {
    "type": "object",
    "properties": {
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "name": {"type": "string"},
        "namespace": {"type": "string"},
    },
}
SPECIAL: dict[str, Schema] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": QUANTITY,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": QUANTITY,
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"type": "string", "format": "date-time"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": METADATA,
    "io.k8s.api.core.v1.LocalObjectReference": {
        "type": "object",
        "properties": {"name": {"type": "string", "default": ""}},
        "x-kubernetes-map-type": "atomic",
    },
}
KEPT = ("type", "format", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type")
"""What controller-gen takes over into definitions, too: no descriptions, no enumerations, no patch strategies."""


class BuiltIns:
    """Kubernetes' own types as structural schemas.

    Args:
        definitions: `components.schemas` of the OpenAPI v3 documents of the groups that are used.
    """

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    def expand(self, node: Any) -> Any:  # noqa: ANN401 - any part of a schema
        """A copy of a schema of crds/ with the types that it names written out."""
        if isinstance(node, list):
            return [self.expand(item) for item in node]
        if not isinstance(node, dict):
            return node
        own = {key: self.expand(value) for key, value in node.items() if key != "built-in"}
        if "built-in" not in node:
            return own
        base = self._type(f"io.k8s.api.{node['built-in']}")
        merged = base | own
        if "properties" in base:
            merged["properties"] = base["properties"] | own.get("properties", {})
        return merged

    def _type(self, name: str) -> Schema:
        return SPECIAL.get(name) or self._convert(self._definitions[name])

    def _convert(self, node: Schema) -> Schema:
        reference = node.get("$ref") or next((part["$ref"] for part in node.get("allOf", ()) if "$ref" in part), None)
        if reference is not None:
            return self._type(reference.rpartition("/")[2])
        found = {key: node[key] for key in KEPT if key in node}
        required = node.get("required", ())
        if "properties" in node:
            found["properties"] = {
                name: self._convert(value) | _default(value, required=name in required)
                for name, value in node["properties"].items()
            }
        for key in ("items", "additionalProperties"):
            if key in node:
                found[key] = self._convert(node[key])
        return found


def _default(node: Schema, *, required: bool) -> Schema:
    """The default of a field, such as TCP; Go's zero values, which the document names as well, are none."""
    return {"default": node["default"]} if node.get("default") and not required else {}


def definitions(built_ins: BuiltIns) -> list[dict[str, Any]]:
    """All definitions of crds/, complete."""
    files = sorted(FOLDER.glob("*.yaml"))
    return [built_ins.expand(one) for path in files for one in yaml.safe_load(path.read_text("utf-8"))]
