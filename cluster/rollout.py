"""What is known of the pods that should serve a checkpoint. Never by the condition Ready: it is of the pods before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crossover_cluster.kubernetes_api import Json

from crossover.errors import ClusterError

SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
"""Annotation of a pod template: what its model is loaded from."""
_HOPELESS = ("ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")
STALE_SECONDS = 30.0
"""A failure that KServe reported before is not believed for so long after the pods changed."""


@dataclass(frozen=True)
class Seen:
    """The objects of one predictor at a moment."""

    service: Json
    """The InferenceService."""
    deployment: Json | None
    pods: Sequence[Json]

    @property
    def endpoint(self) -> str:
        """Its name, for messages."""
        return f"endpoint {self.service.get('metadata', {}).get('name', '')}"

    @property
    def failure_info(self) -> Json | None:
        """KServe's last failure."""
        return _model_status(self.service).get("lastFailureInfo") or None


def progress(seen: Seen, uri: str) -> str:
    """What is still waited for; empty once every pod of the predictor loads from the URI and is available.

    Args:
        seen: the objects.
        uri: of the checkpoint.
    """
    deployment = seen.deployment
    if deployment is None:
        return "KServe has not made the Deployment yet"
    if template_source(deployment) != uri:
        return "the Deployment is still the one before"
    status, wanted = deployment.get("status") or {}, int(deployment["spec"].get("replicas", 1))
    if int(status.get("observedGeneration", 0)) < int(deployment["metadata"].get("generation", 0)):
        return "the Deployment has not been looked at yet"
    updated, available = int(status.get("updatedReplicas", 0)), int(status.get("availableReplicas", 0))
    if updated < wanted or available < wanted or int(status.get("replicas", 0)) > updated:
        return f"{min(updated, available)} of {wanted} pods are new and ready"
    return ""


def model_progress(seen: Seen, before: Json | None) -> str:
    """What KServe's account of the model still lacks; empty once it is up to date.

    A ReplicaSet that still runs is taken up again without a reconciliation, which leaves the failure of before there.

    Args:
        seen: the objects.
        before: the failure that KServe reported before the change.
    """
    state = _model_status(seen.service).get("transitionStatus", "")
    left_over = state == "BlockedByFailedLoad" and seen.failure_info == before
    return "" if state in ("UpToDate", "") or left_over else f"the model's status is {state}"


def failure(seen: Seen, uri: str, *, before: Json | None, waited: float) -> ClusterError | None:
    """Why there is no use in waiting; None where there may be.

    Args:
        seen: the objects.
        uri: of the checkpoint.
        before: the failure that KServe reported before the change.
        waited: seconds since the change.
    """
    info = seen.failure_info
    fresh = info is not None and (info != before or waited > STALE_SECONDS)
    reason, message = str((info or {}).get("reason", "")), str((info or {}).get("message", "")).strip()
    if fresh and reason in ("NoSupportingRuntime", "RuntimeDisabled", "RuntimeNotRecognized"):
        return ClusterError(
            "promotion.no-runtime",
            field=seen.endpoint,
            problem=f"KServe has no runtime for it ({reason}): {message or 'none supports the model format crossover'}",
            remedy="install the chart with kserve.enabled: its ServingRuntime must be in this namespace, or a "
            "ClusterServingRuntime in the cluster",
        )
    deployment = seen.deployment
    ours = deployment is not None and template_source(deployment) == uri
    if deployment is not None and ours and progress(seen, uri):
        refused = _condition(deployment, "ReplicaFailure", "True")
        if refused:
            return ClusterError(
                "promotion.pods-refused",
                field=seen.endpoint,
                problem=f"no pod can be made: {refused.get('message', refused.get('reason', ''))}",
                remedy="raise the quota, or make the namespace's policy and the runtime agree; then promote again",
            )
        for pod in seen.pods:
            if (pod["metadata"].get("annotations") or {}).get(SOURCE) == uri and (
                found := _pod_failure(pod, seen.endpoint)
            ):
                return found
    if fresh and (ours or deployment is None) and progress(seen, uri):
        return _load_failed(seen.endpoint, f"the checkpoint cannot be loaded ({reason}): {message}")
    return None


def stuck(seen: Seen, uri: str) -> str:
    """All that may say why it takes so long."""
    lines = [line for line in (progress(seen, uri), model_progress(seen, None)) if line]
    if info := seen.failure_info:
        lines.append(f"{info.get('reason', '')}: {info.get('message', '')}")
    for pod in seen.pods:
        for condition in (pod.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                lines.append(f"pod {pod['metadata']['name']}: {condition.get('message', condition.get('reason'))}")
        lines += [f"pod {pod['metadata']['name']}: {name}: {w.get('reason', '')}" for name, w, _ in _waiting(pod)]
    return "; ".join(lines) or "nothing is known of its pods"


def template_source(deployment: Json) -> str:
    """What the pods of a Deployment load their model from."""
    return str((deployment["spec"]["template"]["metadata"].get("annotations") or {}).get(SOURCE, ""))


def _model_status(service: Json) -> Json:
    return (service.get("status") or {}).get("modelStatus") or {}


def _condition(deployment: Json, kind: str, status: str) -> Json | None:
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind and c.get("status") == status), None)


def _load_failed(endpoint: str, problem: str) -> ClusterError:
    return ClusterError(
        "promotion.load-failed",
        field=endpoint,
        problem=problem,
        remedy="the endpoint goes on with what it served before; correct the cause, or promote another checkpoint",
    )


def _pod_failure(pod: Json, endpoint: str) -> ClusterError | None:
    for name, waiting, last in _waiting(pod):
        if waiting.get("reason") in _HOPELESS:
            return _hopeless(endpoint, f"pod {pod['metadata']['name']}, container {name}", waiting)
        if waiting.get("reason") == "CrashLoopBackOff":
            problem = f"pod {pod['metadata']['name']}, container {name} ends again and again: {_last_line(last)}"
            return _load_failed(endpoint, problem)
    return None


def _waiting(pod: Json) -> Iterator[tuple[str, Json, str]]:
    """Containers that wait, what for, and what they said at their last end."""
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            yield container["name"], waiting, str(ended.get("message") or f"exit code {ended.get('exitCode')}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _hopeless(endpoint: str, container: str, waiting: Json) -> ClusterError:
    problem = f"{container}: {waiting.get('reason')}: {waiting.get('message', '')}"
    if "image" in str(waiting.get("reason", "")).lower():
        return ClusterError(
            "promotion.image-pull",
            field=endpoint,
            problem=problem,
            remedy="correct the runtime's image (the chart's images.predictor), its tag, or the pull secret",
        )
    return ClusterError(
        "promotion.pod-configuration",
        field=endpoint,
        problem=problem,
        remedy="make the Secret or ConfigMap that it names in this namespace; then promote again",
    )
