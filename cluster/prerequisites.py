"""What a study needs around it, checked at once before anything is computed: all that is wrong, in one error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass

from crossover_cluster.inference_service import FORMAT, GROUP, checked_endpoint
from crossover_cluster.kubernetes_api import Cluster, in_pod, open_cluster, refusal
from crossover_cluster.server_side_apply import read_service
from kubernetes.client import ApiException

from crossover.errors import ClusterError, CrossoverError, RegistryError, UserError
from crossover.registry import open_registry
from crossover.settings import get_settings
from crossover.storage import ANY, open_store
from crossover.study.study_config import StudyConfig

SECONDS = 50.0
"""Most seconds of all checks together."""
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


def check_prerequisites(
    study: StudyConfig,
    *,
    workspace: str,
    registry: str = "",
    endpoint: str = "",
    train_jobs: bool = False,
    cluster: Cluster | None = None,
) -> None:
    """Check the object store, the registry, and in a pod GPUs, KServe and rights; within a minute, in parallel.

    Args:
        study: that will run.
        workspace: folder or s3://bucket/prefix.
        registry: URL; empty is that of the settings.
        endpoint: name of the InferenceService of the winner; empty for none.
        train_jobs: whether runs are trained on several nodes.
        cluster: None is that of this pod; outside of a pod nothing of Kubernetes is checked.

    Raises:
        UserError: of everything that is missing, each with its cause and its remedy.
    """
    checks: list[tuple[str, Callable[[], None]]] = [
        ("workspace", lambda: check_workspace(workspace)),
        ("registry", lambda: check_registry(registry or get_settings().registry, study)),
    ]
    if cluster is None and in_pod() and (endpoint or train_jobs or study.training.device == "cuda"):
        cluster = open_cluster()
    if cluster is not None:
        connected = cluster
        rights = (*(PROMOTION_RIGHTS if endpoint else ()), *(TRAIN_JOB_RIGHTS if train_jobs else ()))
        if rights:
            checks.append(("rights", lambda: check_rights(connected, rights)))
        if endpoint:
            checks.append(("endpoint", lambda: check_kserve(connected, endpoint)))
        if study.training.device == "cuda":
            checks.append(("training.device", lambda: check_gpus(connected)))
    _run(checks)


def _run(checks: Sequence[tuple[str, Callable[[], None]]]) -> None:
    """All checks in parallel; the failures of all in one error."""
    pool = ThreadPoolExecutor(len(checks), thread_name_prefix="prerequisites")
    futures = [(name, pool.submit(check)) for name, check in checks]
    failures: list[CrossoverError] = []
    for name, future in futures:
        try:
            future.result(timeout=SECONDS)
        except Late:
            failures.append(_late(name))
        except CrossoverError as error:
            failures.append(error)
    pool.shutdown(wait=False, cancel_futures=True)
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ClusterError(
            "prerequisites.missing",
            field="prerequisites",
            problem=f"{len(failures)} things are missing\n" + "\n".join(f"- {error}" for error in failures),
            remedy="put them right, and start the run again: nothing has been computed",
        )


def _late(name: str) -> UserError:
    return ClusterError(
        "prerequisites.no-answer",
        field=name,
        problem=f"did not answer within {SECONDS:.0f} s",
        remedy="check its address, and that a network policy admits the pods of the pipeline",
    )


def check_workspace(workspace: str) -> None:
    """Write, read and delete a small object.

    Raises:
        StorageError: it cannot be used.
    """
    store, name = open_store(workspace), "prerequisites.json"
    store.write_document(name, {"written": "by a check"}, replaces=ANY)
    try:
        store.read_document(name)
    finally:
        store.delete(name)


def check_registry(url: str, study: StudyConfig) -> None:
    """Let the registry answer this caller a read, and take the study: it needs this version's schema, and a right.

    Raises:
        RegistryError, AccessError: it cannot be used; in a pod a file is no registry.
    """
    if url.startswith("sqlite") and in_pod():
        raise RegistryError(
            "registry.file-in-pod",
            field="CROSSOVER_REGISTRY_URL",
            problem="the registry is a file, and each step's pod would write one of its own, and lose it",
            remedy="name the installed registry service, such as http://crossover-registry:8090",
        )
    with open_registry(url) as registry:
        registry.check()
        registry.register_study(name=study.name, digest=study.digest, config=study.model_dump(mode="json"))


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
