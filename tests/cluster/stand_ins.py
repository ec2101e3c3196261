"""Who is missing where there is no node and no KServe: the tests act in their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from kubernetes.client import ApiException

from tests.cluster.kube import Kube, Object

INFERENCE_SERVICE = ("serving.kserve.io/v1beta1", "InferenceService")


def now() -> str:
    """The present in the form of Kubernetes' timestamps."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def set_status(kube: Kube, api_version: str, kind: str, name: str, namespace: str, status: Object) -> Object:
    """Set fields of an object's status, as its controller does.

    Args:
        kube: the administrator.
        api_version: of the object.
        kind: of the object; it must have the subresource `status`.
        name: of the object.
        namespace: of the object.
        status: laid over what is there (JSON merge patch: a null takes a field away, a list replaces the list).
    """
    path = kube.path(api_version, kind, namespace, name, "status")
    return kube.raw("PATCH", path, {"status": status}, "application/merge-patch+json")


def conditions(**states: str | tuple[str, str, str]) -> list[Object]:
    """A list of conditions: `Ready="True"`, or with reason and message `Ready=("False", "Why", "because")`."""
    found = []
    for name, state in states.items():
        status, reason, message = state if isinstance(state, tuple) else (state, name, "")
        found.append(
            {"type": name, "status": status, "reason": reason, "message": message, "lastTransitionTime": now()}
        )
    return found


class Kubelet(threading.Thread):
    """Every pod becomes what a node would make of it: pods of Jobs and bare pods succeed, others are ready.

    Args:
        kube: the administrator.
        namespaces: whose pods.
        fail: part of a pod's name: such pods fail.
    """

    def __init__(self, kube: Kube, namespaces: tuple[str, ...], fail: str | None = None) -> None:
        super().__init__(daemon=True)
        self._kube, self._namespaces, self._fail = kube, namespaces, fail
        self._over = threading.Event()
        self.seen: dict[str, Object] = {}
        """The pods by namespace/name, as they were made."""

    def run(self) -> None:
        """Look at the pods several times a second, until `stop`."""
        while not self._over.wait(0.15):
            for namespace in self._namespaces:
                for pod in self._kube.raw("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]:
                    key = f"{namespace}/{pod['metadata']['name']}"
                    if key not in self.seen and "deletionTimestamp" not in pod["metadata"]:
                        self.seen[key] = pod
                        self._settle(pod)

    def _settle(self, pod: Object) -> None:
        owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences", ())}
        if self._fail and self._fail in pod["metadata"]["name"]:
            phase = "Failed"
        else:
            phase = "Running" if owners - {"Job"} else "Succeeded"
        status: Object = {"phase": phase, "startTime": now()}
        if phase == "Running":
            status["conditions"] = conditions(Ready="True", ContainersReady="True", PodScheduled="True")
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
        with suppress(ApiException):  # deleted meanwhile
            self._kube.raw("PATCH", path, {"status": status}, "application/strategic-merge-patch+json")

    def stop(self) -> None:
        """End, and wait for the end."""
        self._over.set()
        self.join()


@contextmanager
def kubelet(kube: Kube, *namespaces: str, fail: str | None = None) -> Iterator[Kubelet]:
    """A started `Kubelet` for some namespaces."""
    started = Kubelet(kube, namespaces, fail)
    started.start()
    try:
        yield started
    finally:
        started.stop()
