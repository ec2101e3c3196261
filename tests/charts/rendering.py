"""Rendering the chart by Helm's own library, and reading what came out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "crossover"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "trial", "studies"

Object = dict[str, Any]


@cache
def chart() -> helm_python.Chart:
    """The chart, loaded once."""
    return helm_python.Chart.load(CHART)


def values_of(path: Path) -> dict[str, Any]:
    """The values of a file."""
    values: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return values


def files(values: dict[str, Any] | None = None) -> dict[str, str]:
    """The text of every template, by its path."""
    rendered: dict[str, str] = chart().render(values or {}, name=RELEASE, namespace=NAMESPACE)
    return rendered


def render(values: dict[str, Any] | None = None) -> list[Object]:
    """All objects of a release with these values, in no order."""
    texts = [text for name, text in files(values).items() if not name.endswith(".txt")]
    return [document for text in texts for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def notes(values: dict[str, Any] | None = None) -> str:
    """What Helm prints after the installation."""
    (text,) = [text for name, text in files(values).items() if name.endswith("NOTES.txt")]
    return text


def find(objects: list[Object], kind: str, name: str = "") -> Object:
    """The one object of a kind, with a name that ends in `name`."""
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(name)]
    return found


def pod_specs(objects: list[Object]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod's specification, with the name of its object. Those of KServe are containers with volumes."""
    for document in objects:
        name = f"{document['kind']}/{document['metadata']['name']}"
        spec = document.get("spec", {})
        match document["kind"]:
            case "Pod":
                yield name, spec
            case "Deployment" | "StatefulSet" | "Job":
                yield name, spec["template"]["spec"]
            case "CronJob":
                yield name, spec["jobTemplate"]["spec"]["template"]["spec"]
            case "TrainingRuntime":
                for job in spec["template"]["spec"]["replicatedJobs"]:
                    yield name, job["template"]["spec"]["template"]["spec"]
            case "ServingRuntime" | "ClusterServingRuntime":
                yield name, spec
            case "ClusterStorageContainer":
                yield name, {"containers": [spec["container"]]}


def containers_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod, those that run first included."""
    return [*spec.get("initContainers", []), *spec["containers"]]
