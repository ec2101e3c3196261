"""What Helm makes of every file in ci/: lint, strict schemas of Kubernetes, labels, images."""

from __future__ import annotations

from pathlib import Path

import helm_python
import pytest
from kubernetes_validate.utils import validate

from tests.charts.rendering import CHART, CI_VALUES, NAMESPACE, find, notes, render, values_of

FOREIGN = (  # CRDs: tests/cluster has their schemas
    "serving.kserve.io",
    "trainer.kubeflow.org",
    "monitoring.coreos.com",
    "gateway.networking.k8s.io",
    "pipelines.kubeflow.org",
)
every_file = pytest.mark.parametrize("path", CI_VALUES, ids=lambda path: path.stem)


def test_the_scenarios_are_there() -> None:
    names = {path.name.removesuffix("-values.yaml") for path in CI_VALUES}
    assert {"minimal", "ha", "external-services", "gpu", "no-kserve", "no-monitoring", "openshift"} <= names


@every_file
def test_lint(path: Path) -> None:
    report = helm_python.lint(CHART, values_of(path), strict=True, kube_version="v1.33.0", namespace=NAMESPACE)
    assert [m for m in report["messages"] if m["severity"] > 1] == []
    assert not report["errors"]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_oldest_and_the_newest_kubernetes_accept_every_object(version: str) -> None:
    test_kubernetes_accepts_every_object(CHART / "ci" / "ha-values.yaml", version)


@every_file
def test_kubernetes_accepts_every_object(path: Path, version: str = "1.33") -> None:
    for document in render(values_of(path)):
        if not document["apiVersion"].startswith(FOREIGN):
            validate(document, version, strict=True)


@every_file
def test_labels_names_and_images(path: Path) -> None:
    objects = render(values_of(path))
    keys = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(keys) == len(set(keys))
    for document in objects:
        if not document["metadata"]["name"].endswith("-extra"):
            assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "crossover", document
            assert document["metadata"]["labels"]["app.kubernetes.io/version"] == "0.1.0"


@every_file
def test_notes_name_the_next_command(path: Path) -> None:
    text = notes(values_of(path))
    assert f"helm -n {NAMESPACE} test trial" in text
    assert "http://trial-crossover-registry.studies:8090" in text
    assert "<no value>" not in text


def test_selectors_hold_nothing_that_changes() -> None:
    objects = render()
    fixed = {
        "app.kubernetes.io/name": "crossover",
        "app.kubernetes.io/instance": "trial",
        "app.kubernetes.io/component": "registry",
    }
    assert find(objects, "Deployment")["spec"]["selector"]["matchLabels"] == fixed
    assert find(objects, "Service")["spec"]["selector"] == fixed
