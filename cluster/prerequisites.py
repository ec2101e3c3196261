"""What a study needs around it, checked at once before anything is computed: all that is wrong, in one error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import TYPE_CHECKING

from crossover.errors import ClusterError, CrossoverError, UserError
from crossover.registry import open_registry
from crossover.settings import get_settings, in_pod
from crossover.stages.pipeline_stage import refuse_pod_registry
from crossover.storage import ANY, open_store
from crossover.study.study_config import StudyConfig

if TYPE_CHECKING:
    from crossover_cluster.kubernetes_api import Cluster

SECONDS = 50.0
"""Most seconds of all checks together."""


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
    gpus = study.training.device == "cuda"
    if (cluster is not None or in_pod()) and (endpoint or train_jobs or gpus):
        from crossover_cluster.cluster_checks import cluster_checks  # the Kubernetes client takes seconds to import

        checks += cluster_checks(endpoint, train_jobs=train_jobs, gpus=gpus, cluster=cluster)
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
    refuse_pod_registry(url)
    with open_registry(url) as registry:
        registry.check()
        registry.register_study(name=study.name, digest=study.digest, config=study.model_dump(mode="json"))
