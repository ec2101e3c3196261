"""Every ci values file of the chart on a real API server: installed, upgraded, rolled back, tested and removed by Helm.

The test makes pods ready in the nodes' place; controllers, schemas, CEL rules, immutable fields, Pod Security and
garbage collection are Kubernetes' own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.charts.rendering import CI_VALUES, values_of
from tests.cluster.kube import Kube, Object
from tests.cluster.releases import Place, Release, admit, labelled, localised, pods_of
from tests.cluster.stand_ins import Kubelet, kubelet

KEPT = {"PersistentVolumeClaim", "PipelineVersion"}
"""What stays when the release is removed, as the chart's notes say."""


def deployment(kube: Kube, namespace: str) -> Object:
    (found,) = kube.list("apps/v1", "Deployment", namespace)
    return found


@pytest.mark.parametrize(
    ("place", "path"), [(path, path) for path in CI_VALUES], indirect=["place"], ids=[path.stem for path in CI_VALUES]
)
def test_life_of_a_release(place: Place, path: Path) -> None:
    values = localised(values_of(path), place.names)
    with kubelet(place.kube, *place.namespaces) as node:
        release = Release(place.kube, place.namespace)
        objects = release.install(values)
        assert_all_there(place, objects)
        assert_pods_admitted(place, objects, node)
        first = deployment(place.kube, place.namespace)["spec"]

        release.upgrade({**values, "images": {"registry": {"tag": "9.9.9"}}})
        second = deployment(place.kube, place.namespace)["spec"]
        assert second["selector"] == first["selector"]
        release.rollback(1)
        assert deployment(place.kube, place.namespace)["spec"]["template"] == first["template"]
        assert [status for _, status in release.revisions()] == ["superseded", "superseded", "deployed"]
        release.test()
        assert place.warnings() == []
        release.uninstall()
    left = labelled(place.kube, place.namespaces)
    assert {item.partition("/")[0] for item in left} <= KEPT, left


def assert_all_there(place: Place, objects: list[Object]) -> None:
    """Every object is on the server with every field of its own: Helm says nothing of fields that a schema drops."""
    for document in objects:
        at, kind = document["metadata"], document["kind"]
        if place.kube.namespaced(document["apiVersion"], kind):
            at.setdefault("namespace", place.namespace)
        assert place.kube.get(document["apiVersion"], kind, at["name"], at.get("namespace")), f"{kind}/{at['name']}"
        place.kube.apply(document, manager="helm", dry_run=True, force=True)


def assert_pods_admitted(place: Place, objects: list[Object], node: Kubelet) -> None:
    workloads = [o["metadata"]["name"] for o in objects if o["kind"] in ("Deployment", "Job", "StatefulSet")]
    for name in workloads:
        assert any(name in key for key in node.seen), f"{name} has no pod: {place.warnings()}"
    for pod in pods_of(objects, place.namespace):
        admit(place.kube, pod)
