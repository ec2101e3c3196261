"""Installing the chart for real: values of charts/crossover/ci in namespaces of a test, pods judged by admission."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.charts.rendering import CHART, values_of
from tests.cluster.kube import Kube, Object

RELEASE = "trial"
SECONDS = 45
"""Of one operation of Helm, which waits until all is ready."""
NAMED = ("team-a", "team-b", "kubeflow")
"""Namespaces that the ci values name."""


def localised(values: Any, names: dict[str, str]) -> Any:  # noqa: ANN401 - any part of the values
    """Values with the namespaces that they name replaced by those of a test."""
    if isinstance(values, dict):
        return {key: localised(value, names) for key, value in values.items()}
    if isinstance(values, list):
        return [localised(value, names) for value in values]
    return names.get(values, values) if isinstance(values, str) else values


def named_in(path: Path) -> list[str]:
    """Which namespaces of others a file of values names."""
    text = json.dumps(values_of(path))
    return [name for name in NAMED if f'"{name}"' in text]


class Release:
    """A release of the chart in a namespace, by Helm 4's own library: server-side apply, waiting by watches.

    Args:
        kube: whose rights Helm uses.
        namespace: of the release.
        name: of the release.
    """

    def __init__(self, kube: Kube, namespace: str, name: str = RELEASE) -> None:
        self.name, self.namespace = name, namespace
        self._helm = helm_python.Config(kubeconfig_path=str(kube.kubeconfig), namespace=namespace)

    def install(self, values: Object) -> list[Object]:
        """Install the chart, wait until all is ready, and return its objects, hooks apart."""
        done = self._helm.install(CHART, self.name, values, namespace=self.namespace, timeout=SECONDS, wait="watcher")
        return documents(done["manifest"])

    def upgrade(self, values: Object) -> list[Object]:
        """Upgrade to other values, wait, and return the objects."""
        done = self._helm.upgrade(CHART, self.name, values, namespace=self.namespace, timeout=SECONDS, wait="watcher")
        return documents(done["manifest"])

    def rollback(self, revision: int) -> None:
        """Go back to a revision, and wait."""
        self._helm.rollback(self.name, version=revision, timeout=SECONDS, wait="watcher")

    def test(self) -> None:
        """`helm test`."""
        self._helm.test(self.name, timeout=SECONDS)

    def uninstall(self) -> None:
        """Remove the release if it is there, and wait until it is gone."""
        self._helm.uninstall(self.name, timeout=SECONDS, ignore_not_found=True, wait="watcher")

    def revisions(self) -> list[tuple[int, str]]:
        """Number and status of every revision."""
        return [(one["revision"], one["status"]) for one in self._helm.history(self.name)]


class Place:
    """A release's namespace and those that its values name.

    Args:
        kube: the administrator.
        make_namespace: the fixture.
        names: of the other namespaces, as values name them.
    """

    def __init__(self, kube: Kube, make_namespace: Callable[..., str], names: list[str]) -> None:
        self.kube = kube
        self.namespace = make_namespace()
        self.names = {name: make_namespace(name) for name in names}
        self.namespaces = [self.namespace, *self.names.values()]

    def warnings(self) -> list[str]:
        """Messages of events that say that a controller could not do its work."""
        events = [event for namespace in self.namespaces for event in self.kube.list("v1", "Event", namespace)]
        return [event["message"] for event in events if event["reason"] in ("FailedCreate", "FailedUpdate")]


@contextmanager
def place_for_a_release(kube: Kube, make_namespace: Callable[..., str], names: list[str]) -> Iterator[Place]:
    """A place with a volume for the release's claim; what is installed there is removed. Arguments as `Place`."""
    place = Place(kube, make_namespace, names)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": place.namespace},
        "spec": {
            "capacity": {"storage": "8Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/nowhere"},
            "claimRef": {"namespace": place.namespace, "name": f"{RELEASE}-crossover-registry-data"},
        },
    }
    kube.apply(volume)
    try:
        yield place
    finally:
        Release(kube, place.namespace).uninstall()
        kube.delete("v1", "PersistentVolume", place.namespace)


def documents(text: str) -> list[Object]:
    """The objects of a manifest."""
    return [document for document in yaml.safe_load_all(text) if document]


def pods_of(objects: list[Object], namespace: str) -> Iterator[Object]:
    """A pod, in a namespace, of every template that Kubernetes itself makes into pods later or not at all."""
    for document in objects:
        spec, kind = document.get("spec", {}), document["kind"]
        if kind == "CronJob":
            yield pod(document, spec["jobTemplate"]["spec"]["template"], namespace)
        elif kind == "TrainingRuntime":
            for job in spec["template"]["spec"]["replicatedJobs"]:
                yield pod(document, job["template"]["spec"]["template"], namespace)
        elif kind in ("ServingRuntime", "ClusterServingRuntime"):
            mount = {"name": "model", "mountPath": "/mnt/models", "readOnly": True}
            storage = [one["spec"]["container"] for one in objects if one["kind"] == "ClusterStorageContainer"]
            containers = [{**spec["containers"][0], "volumeMounts": [*spec["containers"][0]["volumeMounts"], mount]}]
            volumes = [*spec["volumes"], {"name": "model", "emptyDir": {}}]
            made = {"containers": containers, "initContainers": storage, "volumes": volumes}
            yield pod(document, {"spec": made}, namespace)


def pod(owner: Object, template: Object, namespace: str) -> Object:
    """A pod of a template; accounts of others' making are left out."""
    spec = {key: value for key, value in template["spec"].items() if key != "serviceAccountName"}
    metadata = {"generateName": f"{owner['metadata']['name']}-", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def admit(kube: Kube, pod: Object) -> Object:
    """Let the API server judge a pod as if it were created, and keep nothing."""
    return kube.raw("POST", f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods?dryRun=All", pod)


def labelled(kube: Kube, namespaces: list[str], name: str = RELEASE) -> set[str]:
    """Kind and name of everything in these namespaces, or in none, that carries the release's label."""
    found = set()
    groups = [("v1", "/api/v1")]
    for group in kube.raw("GET", "/apis")["groups"]:
        version = group["preferredVersion"]["groupVersion"]
        groups.append((version, f"/apis/{version}"))
    for version, path in groups:
        for resource in kube.raw("GET", path)["resources"]:
            if "list" not in resource["verbs"] or resource["kind"] in ("Event", "Pod", "EndpointSlice", "Endpoints"):
                continue
            for item in kube.list(version, resource["kind"], query=f"labelSelector=app.kubernetes.io/instance={name}"):
                if item["metadata"].get("namespace") in (None, *namespaces):
                    found.add(f"{resource['kind']}/{item['metadata']['name']}")
    return found
