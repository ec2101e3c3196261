"""What a study needs of Kubernetes: rights of the pod's account, KServe, GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crossover_cluster.inference_service import FORMAT, GROUP, checked_endpoint
from crossover_cluster.kubernetes_api import Cluster, open_cluster, refusal
from crossover_cluster.server_side_apply import read_service
from kubernetes.client import ApiException

from crossover.errors import ClusterError

_GPU_TYPES = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe", "habana.ai/gaudi")


@dataclass(frozen=True)
class Right:
    """A verb on a resource."""

    verb: str
    group: str
    resource: str
    subresource: str = ""

    def __str__(self) -> str:
        name = self.resource + (f"/{self.subresource}" if self.subresource else "")
        return f"{self.verb} {name}" + (f".{self.group}" if self.group else "")


PROMOTION_RIGHTS = (
    *(Right(verb, GROUP, "inferenceservices") for verb in ("get", "create", "patch")),
    Right("get", "apps", "deployments"),
    Right("list", "", "pods"),
)
"""What a promotion needs; a canary needs `delete horizontalpodautoscalers.autoscaling` too."""
TRAIN_JOB_RIGHTS = (
    *(Right(verb, "trainer.kubeflow.org", "trainjobs") for verb in ("get", "create", "patch", "delete")),
    Right("get", "trainer.kubeflow.org", "trainingruntimes"),
    Right("list", "", "pods"),
    Right("get", "", "pods", "log"),
)
"""What a step needs that trains on several nodes."""


def cluster_checks(
    endpoint: str, *, train_jobs: bool, gpus: bool, cluster: Cluster | None = None
) -> list[tuple[str, Callable[[], None]]]:
    """The checks of a cluster, with the name of what each is about.

    Args:
        endpoint: name of the InferenceService of the winner; empty for none.
        train_jobs: whether runs are trained on several nodes.
        gpus: whether the study is on GPUs.
        cluster: None is that of this pod.

    Raises:
        ClusterError: the cluster cannot be reached.
    """
    connected = cluster or open_cluster()
    checks: list[tuple[str, Callable[[], None]]] = []
    rights = (*(PROMOTION_RIGHTS if endpoint else ()), *(TRAIN_JOB_RIGHTS if train_jobs else ()))
    if rights:
        checks.append(("rights", lambda: check_rights(connected, rights)))
    if endpoint:
        checks.append(("endpoint", lambda: check_kserve(connected, endpoint)))
    if gpus:
        checks.append(("training.device", lambda: check_gpus(connected)))
    return checks


def check_rights(cluster: Cluster, rights: Sequence[Right]) -> None:
    """Ask for each right whether this account has it.

    Raises:
        ClusterError: names those that it has not.
    """
    missing = [str(right) for right in dict.fromkeys(rights) if not allowed(cluster, right)]
    if missing:
        raise ClusterError(
            "cluster.forbidden",
            field=f"service account of this pod in namespace {cluster.namespace}",
            problem=f"may not {', '.join(missing)}",
            remedy="install the chart with pipelineRunner.rbac and this namespace in pipelineNamespaces, and its "
            "kserve.enabled or trainer.enabled; docs/promotion.md lists every verb",
        )


def allowed(cluster: Cluster, right: Right, namespace: str | None = None) -> bool:
    """Whether this account has a right, by SelfSubjectAccessReview, which everybody may ask for.

    Args:
        cluster: the connection.
        right: the verb and the resource.
        namespace: None is that of the connection; empty is the whole cluster.
    """
    attributes = {
        "namespace": cluster.namespace if namespace is None else namespace,
        "verb": right.verb,
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    try:
        answer = cluster.request("POST", path, doing="ask for rights", body=review, seconds=10.0)
    except ApiException as error:
        raise refusal("ask for rights", error, cluster.namespace) from error
    return bool(answer["status"]["allowed"])


def check_kserve(cluster: Cluster, endpoint: str) -> None:
    """Whether KServe is there, and a runtime for our model format, where this account may look for one.

    Raises:
        ClusterError: it is not, or the endpoint's name cannot be one.
    """
    read_service(cluster, checked_endpoint(endpoint))
    looked, found = False, False
    for plural, namespace in (("servingruntimes", cluster.namespace), ("clusterservingruntimes", "")):
        if not allowed(cluster, Right("list", GROUP, plural), namespace):
            continue
        place = f"namespaces/{namespace}/" if namespace else ""
        runtimes = cluster.get(f"/apis/{GROUP}/v1alpha1/{place}{plural}", doing=f"list {plural}.{GROUP}")
        looked = True
        formats = [f for r in (runtimes or {}).get("items", ()) for f in r["spec"].get("supportedModelFormats") or ()]
        found = found or any(f.get("name") == FORMAT for f in formats)
    if looked and not found:
        raise ClusterError(
            "promotion.no-runtime",
            field=f"endpoint {endpoint}",
            problem=f"no ServingRuntime in namespace {cluster.namespace} serves the model format {FORMAT}",
            remedy="install the chart with kserve.enabled, and with this namespace in pipelineNamespaces",
        )


def check_gpus(cluster: Cluster) -> None:
    """Whether any node has a GPU, where this account may list nodes; where not, its pod says so by staying Pending.

    Raises:
        ClusterError: no node has one.
    """
    if not allowed(cluster, Right("list", "", "nodes"), ""):
        print(
            "training.device is cuda, and this account may not list nodes: a pod that finds no GPU stays Pending, with "
            "the event `Insufficient nvidia.com/gpu`, or fails with [device.missing] where it asks for none",
            flush=True,
        )
        return
    nodes = (cluster.get("/api/v1/nodes", doing="list nodes") or {}).get("items") or ()
    counts = {
        kind: sum(int((node["status"].get("allocatable") or {}).get(kind, 0)) for node in nodes) for kind in _GPU_TYPES
    }
    if not any(counts.values()):
        raise ClusterError(
            "prerequisites.no-gpu",
            field="training.device",
            problem=f"is cuda, and none of {len(nodes)} nodes has a GPU (looked for {', '.join(_GPU_TYPES)})",
            remedy="set training.device to cpu, install the device plugin, or let the autoscaler keep one GPU node",
        )
