"""Every ci values file of the chart on a real API server: installed, upgraded, rolled back, tested and removed by Helm.

The test makes pods ready in the nodes' place; controllers, schemas, CEL rules, immutable fields, Pod Security and
garbage collection are Kubernetes' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.charts.rendering import CI_VALUES, values_of
from tests.cluster.kube import Kube, Object, wait_for
from tests.cluster.releases import RELEASE, Release, admit, labelled, localised, named_in, pods_of
from tests.cluster.stand_ins import Kubelet, kubelet

KEPT = {"PersistentVolumeClaim", "PipelineVersion"}
"""What stays when the release is removed, as the chart's notes say."""


class Place:
    """A release's namespace and those that its values name, with pods made ready and a volume for its claim."""

    def __init__(self, kube: Kube, make_namespace: Callable[..., str], names: list[str]) -> None:
        self.kube = kube
        self.namespace = make_namespace()
        self.names = {name: make_namespace(name) for name in names}
        self.namespaces = [self.namespace, *self.names.values()]

    def warnings(self) -> list[str]:
        """Messages of events that say that a controller could not do its work."""
        events = [event for namespace in self.namespaces for event in self.kube.list("v1", "Event", namespace)]
        return [event["message"] for event in events if event["reason"] in ("FailedCreate", "FailedUpdate")]


@pytest.fixture
def place(kube: Kube, make_namespace: Callable[..., str], request: pytest.FixtureRequest) -> Iterator[Place]:
    path: Path | None = getattr(request, "param", None)
    made = Place(kube, make_namespace, named_in(path) if path else [])
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": made.namespace},
        "spec": {
            "capacity": {"storage": "8Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/nowhere"},
            "claimRef": {"namespace": made.namespace, "name": f"{RELEASE}-crossover-registry-data"},
        },
    }
    kube.apply(volume)
    release = Release(kube, made.namespace)
    try:
        yield made
    finally:
        release.uninstall()
        kube.delete("v1", "PersistentVolume", made.namespace)


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
    left = wait_for(lambda: (labelled(place.kube, place.namespaces),), "answer")[0]
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
