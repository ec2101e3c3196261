"""KServe's controller and its pods, in their place: Deployments of InferenceServices, their status, and answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from crossover_cluster.endpoint import Channel
from crossover_cluster.kubernetes_api import Cluster
from crossover_cluster.rollout import SOURCE
from kubernetes.client import ApiException

from tests.cluster.kube import Kube, Object
from tests.cluster.stand_ins import INFERENCE_SERVICE, now, set_status

RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


class KServe(threading.Thread):
    """Makes a Deployment for each predictor and canary, as the manager does in Standard mode.

    Args:
        kube: the administrator.
        namespace: its InferenceServices.
        bad: URIs that cannot be loaded.
        digests: URI to the digest that its pods say they serve.
    """

    def __init__(self, kube: Kube, namespace: str, bad: frozenset[str], digests: Mapping[str, str]) -> None:
        super().__init__(daemon=True)
        self._kube, self._namespace, self._bad, self._digests = kube, namespace, bad, digests
        self._over = threading.Event()
        self.served: list[tuple[str, str]] = []
        """Deployment and URI, each time that one changed."""
        self.failing: set[str] = set()
        """URIs whose pods answer the first trial requests only."""

    def run(self) -> None:
        """Look several times a second, until `stop`."""
        while not self._over.wait(0.2):
            for service in self._kube.list(*INFERENCE_SERVICE, namespace=self._namespace):
                with suppress(ApiException):  # changed or deleted meanwhile
                    self._reconcile(service)

    def _reconcile(self, service: Object) -> None:
        name, spec = service["metadata"]["name"], service["spec"]
        stable = spec["predictor"]
        self._deploy(name, f"{name}-predictor", stable["model"]["storageUri"], stable.get("minReplicas", 1))
        for entry in spec.get("canary", ()):
            predictor = entry["predictor"]
            self._deploy(name, f"{name}-{predictor['name']}-predictor", predictor["model"]["storageUri"], 1)
        address = {"url": f"http://{name}-predictor.{self._namespace}.svc.cluster.local"}
        status: Object = {"address": address, "modelStatus": {"transitionStatus": "UpToDate", "lastFailureInfo": None}}
        if stable["model"]["storageUri"] in self._bad:
            info = {"reason": "ModelLoadFailed", "message": "checkpoint.altered: weights differ", "time": now()}
            before = service.get("status", {}).get("modelStatus", {}).get("lastFailureInfo")
            status["modelStatus"] = {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": before or info}
        set_status(self._kube, *INFERENCE_SERVICE, name, self._namespace, status)

    def _deploy(self, service: str, name: str, uri: str, replicas: int) -> None:
        there = self._kube.get("apps/v1", "Deployment", name, self._namespace)
        if there and there["spec"]["template"]["metadata"]["annotations"][SOURCE] == uri:
            if there["spec"]["replicas"] == replicas:
                return
        labels = {"app": name, "serving.kserve.io/inferenceservice": service}
        container = {"name": "kserve-container", "image": "i", "securityContext": RESTRICTED}
        if uri in self._bad:
            container["securityContext"] = {}  # so that the namespace refuses its pods
        template = {"metadata": {"labels": labels, "annotations": {SOURCE: uri}}, "spec": {"containers": [container]}}
        self._kube.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": self._namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                    "template": template,
                },
            },
            force=True,
        )
        self.served.append((name, uri))

    def reach(self, _: Cluster, url: str) -> Channel:
        """Answers of a predictor's pods, of which there are none without a node."""
        name = url.removeprefix("http://").partition(".")[0]

        def send(method: str, path: str, body: Mapping[str, Any] | None = None) -> Object:
            found = self._kube.get("apps/v1", "Deployment", name, self._namespace)
            if found is None:
                raise OSError("no such Service")
            uri = found["spec"]["template"]["metadata"]["annotations"][SOURCE]
            if path == "/v1/models":
                return {"data": [{"digest": self._digests[uri]}]}
            if uri in self.failing and body and body.get("prompt", "The ") != "The ":
                raise OSError("HTTP 503")
            return {"choices": [{"text": "a"}]} if "completions" in path else {"outputs": [{"data": ["a"]}]}

        return send

    def stop(self) -> None:
        """End, and wait for the end."""
        self._over.set()
        self.join()


@contextmanager
def kserve(kube: Kube, namespace: str, *, bad: frozenset[str], digests: Mapping[str, str]) -> Iterator[KServe]:
    """A started `KServe` for a namespace."""
    started = KServe(kube, namespace, bad, digests)
    started.start()
    try:
        yield started
    finally:
        started.stop()
