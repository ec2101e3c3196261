"""Server-side apply of an InferenceService: all fields of ours, conflicts by their owner, KServe's start awaited."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from crossover_cluster.inference_service import FIELD_MANAGER, GROUP, PLURAL, VERSION
from crossover_cluster.kubernetes_api import Cluster, Json, refusal, said
from kubernetes.client import ApiException

from crossover.errors import ClusterError

WEBHOOK_SECONDS = 60.0
"""KServe's webhook does not answer for so long after its start."""


def path_of(cluster: Cluster, name: str = "") -> str:
    """Of an InferenceService, or of all in the namespace."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{cluster.namespace}/{PLURAL}" + (f"/{name}" if name else "")


def read_service(cluster: Cluster, name: str) -> Json | None:
    """An InferenceService; None where there is none.

    Raises:
        ClusterError: it cannot be read, or the cluster has no KServe.
    """
    doing = f"get {PLURAL}.{GROUP} {name}"
    try:
        return cluster.request("GET", path_of(cluster, name), doing=doing)
    except ApiException as error:
        if error.status != 404:
            raise refusal(doing, error, cluster.namespace) from error
        if _is_absent(error):
            return None
        raise _no_kserve(doing) from error


def apply_service(
    cluster: Cluster, manifest: Json, *, force: bool = False, now: Callable[[], float] = time.monotonic
) -> Json:
    """Create an InferenceService, or change it; what is there already changes nothing.

    Args:
        cluster: the connection.
        manifest: all fields that are ours.
        force: take fields from other field managers.
        now: a clock in seconds.

    Returns:
        The object as it is now.

    Raises:
        ClusterError: refused, no KServe, or fields that somebody else owns; each is named with its owner.
    """
    name, until = manifest["metadata"]["name"], now() + WEBHOOK_SECONDS
    doing = f"patch {PLURAL}.{GROUP} {name}"
    query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false", "fieldValidation": "Strict"}
    while True:
        try:
            return cluster.request(
                "PATCH",
                path_of(cluster, name),
                doing=doing,
                body=manifest,
                query=query,
                content="application/apply-patch+yaml",
            )
        except ApiException as error:
            if error.status == 409:
                raise _conflict(doing, error) from error
            if error.status == 404 and "namespaces" not in said(error):
                raise _no_kserve(doing) from error
            if not (error.status == 500 and "no endpoints available" in said(error) and now() < until):
                raise _failed(doing, error, cluster.namespace) from error
        cluster.pause(2.0)


def _failed(doing: str, error: ApiException, namespace: str) -> ClusterError:
    if "no endpoints available" not in said(error):
        return refusal(doing, error, namespace)
    return ClusterError(
        "cluster.webhook-down",
        field=doing,
        problem=f"KServe's webhook does not answer for {WEBHOOK_SECONDS:.0f} s: {said(error)}",
        remedy="look at the kserve-controller-manager pod: it must be ready; then try again",
    )


def _is_absent(error: ApiException) -> bool:
    """Whether a 404 is of an object, and not of a kind that the server does not know."""
    try:
        return bool((json.loads(error.body or "").get("details") or {}).get("name"))
    except (ValueError, AttributeError):
        return False


def _no_kserve(doing: str) -> ClusterError:
    return ClusterError(
        "cluster.no-kserve",
        field=doing,
        problem=f"the API server does not serve {GROUP}/{VERSION}: KServe is not installed",
        remedy="install KServe 0.20 or later in Standard mode, and the chart with kserve.enabled; "
        "or leave the endpoint empty: the checkpoint is published without it",
    )


def _conflict(doing: str, error: ApiException) -> ClusterError:
    try:
        causes = json.loads(error.body or "").get("details", {}).get("causes", [])
    except (ValueError, AttributeError):
        causes = []
    lines = [f"{c.get('field', '?')}: {c.get('message', '')}" for c in causes] or [said(error)]
    return ClusterError(
        "promotion.conflict",
        field=doing,
        problem="somebody else has set fields of it\n" + "\n".join(lines),
        remedy="let the other side give them up, or take them with --force-conflicts",
    )
