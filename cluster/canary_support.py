"""Whether the installed KServe has canaries in Standard mode, when one is worse, and what it leaves behind."""

from __future__ import annotations

from crossover_cluster.inference_service import GROUP, VERSION
from crossover_cluster.kubernetes_api import Cluster, refusal
from crossover_cluster.promotion_records import Measured
from kubernetes.client import ApiException

from crossover.errors import ClusterError

SLOWER = 3.0
"""A canary whose 95th percentile is so many times that of the stable predictor, and over a second, is worse."""


def require_canary(cluster: Cluster) -> None:
    """Ask the API server whether an InferenceService has `spec.canary`; everybody may.

    Raises:
        ClusterError: it has not.
    """
    schemas = cluster.get(f"/openapi/v3/apis/{GROUP}/{VERSION}", doing=f"get openapi of {GROUP}") or {}
    found = [
        schema
        for name, schema in (schemas.get("components") or {}).get("schemas", {}).items()
        if name.endswith(".InferenceService")
    ]
    spec = [((schema.get("properties") or {}).get("spec") or {}).get("properties") or {} for schema in found]
    if any("canary" in properties for properties in spec):
        return
    why = "its CRD has no spec.canary" if any(spec) else "its CRD carries no schema, so that nothing tells"
    raise ClusterError(
        "promotion.no-canary",
        field="--canary",
        problem=f"the installed KServe has no canaries in Standard mode ({why})"
        if found
        else "KServe is not installed",
        remedy="install KServe 0.20 or later with its full CRDs, or promote without --canary (pods go one by one)",
    )


def worse(stable: Measured, canary: Measured) -> str:
    """What is worse about a canary; empty where nothing is."""
    if canary.errors > stable.errors:
        return f"{canary.errors} of {canary.requests} requests failed, and {stable.errors} of the stable predictor"
    if canary.p95_seconds > max(1.0, SLOWER * stable.p95_seconds):
        return (
            f"the 95th percentile of its answers is {canary.p95_seconds:.2f} s, and {stable.p95_seconds:.2f} s of the "
            "stable predictor"
        )
    return ""


def drop_autoscaler(cluster: Cluster, name: str) -> None:
    """Delete the HorizontalPodAutoscaler that KServe leaves behind when a canary goes; none is right too."""
    doing = f"delete horizontalpodautoscalers.autoscaling {name}"
    try:
        path = f"/apis/autoscaling/v2/namespaces/{cluster.namespace}/horizontalpodautoscalers/{name}"
        cluster.request("DELETE", path, doing=doing)
    except ApiException as error:
        if error.status != 404:
            raise refusal(doing, error, cluster.namespace) from error
