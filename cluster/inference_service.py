"""The InferenceService that serves a checkpoint, as KServe's API has it: a pure function of what is served.

Labels and annotations of an InferenceService become those of its pods, so that a changed one starts new pods. Ours
depend on the checkpoint alone, but for the study's name, which stays as it is while the checkpoint does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from crossover.errors import ClusterError
from crossover.stages.stage_manifests import DeploymentRef
from crossover.study.study_digests import short

Json = dict[str, Any]
GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
FIELD_MANAGER = "crossover"
FORMAT = "crossover"
"""Of the model, which the chart's ServingRuntime supports."""
STORAGE_CONTAINER, SERVICE_ACCOUNT = "crossover-storage", "crossover-predictor"
"""Made by the chart: they let a namespace with the Pod Security Standard `restricted` load from S3."""
CANARY = "canary"
"""Name of the canary's predictor."""
_PREFIX = "crossover/"
_NAME = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_LONGEST = 46
"""With `-canary-predictor` the name of a Service, which has 63 characters at most."""


@dataclass(frozen=True)
class Served:
    """A checkpoint on an endpoint."""

    uri: str
    digest: str
    run: str
    run_digest: str
    step: int
    study: str
    """Name of the study whose verdict it rests on."""

    @classmethod
    def of(cls, deployment: DeploymentRef, study: str) -> Served:
        """What a promotion serves."""
        winner = deployment.candidate
        step = winner.checkpoint.step
        return cls(deployment.uri, deployment.digest, winner.run.key, winner.run_digest, step, study)

    def annotations(self) -> Json:
        """As annotations."""
        values = {"digest": self.digest, "run": self.run, "run-digest": self.run_digest, "step": str(self.step)}
        return {_PREFIX + name: value for name, value in (values | {"study": self.study}).items()}


def checked_endpoint(name: str) -> str:
    """The name of an endpoint.

    Raises:
        ClusterError: it cannot be one.
    """
    if not _NAME.match(name) or len(name) > _LONGEST:
        raise ClusterError(
            "promotion.bad-endpoint",
            field="endpoint",
            problem=f"{name!r} cannot be the name of an InferenceService",
            remedy=f"give at most {_LONGEST} lower-case letters, digits and hyphens, the first one a letter",
        )
    return name


def served_by(live: Json) -> Served | None:
    """What an InferenceService serves, by what a promotion wrote into it; None where none did."""
    notes = live["metadata"].get("annotations") or {}
    values = {name: notes.get(_PREFIX + name) for name in ("digest", "run", "run-digest", "step", "study")}
    uri = live["spec"].get("predictor", {}).get("model", {}).get("storageUri")
    if not uri or None in values.values() or not str(values["step"]).isdecimal():
        return None
    of = {name: str(value) for name, value in values.items()}
    return Served(uri, of["digest"], of["run"], of["run-digest"], int(of["step"]), of["study"])


def kept_study(served: Served, live: Json | None) -> Served:
    """The same, under the study's name that is there while the checkpoint is: no pod starts for another name."""
    before = served_by(live) if live else None
    return replace(served, study=before.study) if before and before.digest == served.digest else served


def replicas_of(live: Json | None, wanted: int | None) -> int:
    """As many as are wanted, as there are, or 1."""
    there = live["spec"].get("predictor", {}).get("minReplicas") if live else None
    return wanted or int(there or 1)


def manifest(
    name: str, namespace: str, served: Served, *, replicas: int, canary: tuple[Served, int] | None = None
) -> Json:
    """Every field that a promotion owns: server-side apply removes the ones that are left out.

    Args:
        name: of the InferenceService.
        namespace: its own.
        served: what gets the traffic.
        replicas: pods that serve it at least.
        canary: what is tried beside it, and its percent of the traffic.
    """
    spec: Json = {"predictor": _predictor(name, served, replicas)}
    if canary:
        spec["canary"] = [_canary(*canary)]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "crossover", _PREFIX + "checkpoint": short(served.digest)},
            "annotations": {"serving.kserve.io/deploymentMode": "Standard", **served.annotations()},
        },
        "spec": spec,
    }


def _predictor(name: str, served: Served, replicas: int) -> Json:
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    selector = {"labelSelector": {"matchLabels": {"serving.kserve.io/inferenceservice": name}}}
    return {
        "minReplicas": replicas,
        "serviceAccountName": SERVICE_ACCOUNT,
        "storageContainerName": STORAGE_CONTAINER,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": [spread | selector],
        "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "model": _model(served),
    }


def _model(served: Served) -> Json:
    return {
        "modelFormat": {"name": FORMAT, "version": "1"},
        "protocolVersion": "v2",
        "storageUri": served.uri,
    }


def _canary(served: Served, percent: int) -> Json:
    """One pod with the other checkpoint; what is not said here is as in the stable predictor."""
    predictor = {
        "name": CANARY,
        "minReplicas": 1,
        "annotations": served.annotations(),
        # the schema of KServe 0.20 demands the container's name here, though its webhook would fill it in
        "model": {"name": "kserve-container", **_model(served)},
    }
    return {"trafficPercent": percent, "predictor": predictor}


def canary_of(live: Json) -> tuple[Served, int] | None:
    """The canary that an earlier attempt left, and its percent."""
    for entry in live["spec"].get("canary") or ():
        predictor = entry.get("predictor") or {}
        if predictor.get("name") == CANARY:
            as_stable = {"metadata": predictor, "spec": {"predictor": predictor}}
            served = served_by(as_stable)
            return (served, int(entry.get("trafficPercent", 0))) if served else None
    return None
