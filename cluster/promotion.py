"""A promoted checkpoint becomes what an InferenceService of KServe serves; and back."""

from __future__ import annotations

from crossover_cluster.deployment_history import Recorded, before, endpoint_of, history, record
from crossover_cluster.endpoint_rollout import EndpointRollout
from crossover_cluster.inference_service import Served, checked_endpoint, served_by
from crossover_cluster.kubernetes_api import Json, open_cluster
from crossover_cluster.promotion_records import EndpointRecord, PromotionOptions
from crossover_cluster.server_side_apply import read_service

from crossover.errors import ClusterError
from crossover.registry import AnyRegistry
from crossover.stages.stage_manifests import DeploymentRef
from crossover.stages.study_context import StudyContext
from crossover.storage import open_store

_SERVING = "/serving/"


def promote_to_kserve(
    context: StudyContext,
    deployment: DeploymentRef,
    endpoint: str,
    options: PromotionOptions = PromotionOptions(),  # noqa: B008  # a frozen value
    rollout: EndpointRollout | None = None,
) -> EndpointRecord:
    """Serve a promoted checkpoint, and return once the endpoint says that it serves it; a retry changes nothing.

    Args:
        context: the study, its workspace and registry.
        deployment: what `promote_stage` returned: the recorded verdict has let it pass.
        endpoint: name of the InferenceService.
        options: where and how.
        rollout: of the endpoint; None makes one by the configuration of this machine or pod.

    Raises:
        ClusterError: the checkpoint cannot be served from its place, the cluster refuses, the endpoint does not serve
            it in time, or it is worse as a canary.
    """
    served = _checked(Served.of(deployment, context.study.name))
    rollout = rollout or open_rollout(endpoint, options)
    rows = history(context.registry, context.study.name)
    analysis = next((row.analysis_digest for row in rows if row.served.digest == deployment.digest), "")
    done = rollout.serve(served)
    record(context.registry, Recorded(served, deployment.study, analysis, deployment.reason), done)
    return done


def roll_back(
    registry: AnyRegistry, study: str, endpoint: str, options: PromotionOptions, rollout: EndpointRollout | None = None
) -> EndpointRecord:
    """Serve what the endpoint served before, by the registry's record.

    Args:
        registry: with the deployments.
        study: its name; empty is that of what is served.
        endpoint: name of the InferenceService.
        options: where and how.
        rollout: of the endpoint; None makes one.

    Raises:
        ClusterError: nothing was served before, or as of `promote_to_kserve`.
    """
    rollout = rollout or open_rollout(endpoint, options)
    live = read_service(rollout.cluster, endpoint)
    now = served_by(live) if live else None
    if now is None:
        raise ClusterError(
            "promotion.not-ours",
            field=f"endpoint {endpoint}",
            problem=f"does not exist in namespace {rollout.cluster.namespace}"
            if live is None
            else "was not made by a promotion",
            remedy="name another with --endpoint, and its namespace with --namespace",
        )
    study = study or now.study
    place = endpoint_of(rollout.cluster.namespace, endpoint)
    row = before(history(registry, study), place, now.digest, study=study)
    _checked(row.served)
    done = rollout.serve(row.served)
    reason = f"Rolled back from {now.run}, step {now.step}."
    record(registry, Recorded(row.served, row.study_digest, row.analysis_digest, reason), done)
    return done


def planned_manifest(served: Served, endpoint: str, options: PromotionOptions) -> Json:
    """What a promotion would apply; a cluster is asked for what it has, where one is configured."""
    rollout = open_rollout(endpoint, options)
    return rollout.planned(served, read_service(rollout.cluster, endpoint))


def open_rollout(endpoint: str, options: PromotionOptions) -> EndpointRollout:
    """An endpoint of the configured cluster.

    Raises:
        ClusterError: its name cannot be one, or no cluster is configured.
    """
    return EndpointRollout(open_cluster(options.namespace), checked_endpoint(endpoint), options)


def _checked(served: Served) -> Served:
    """A checkpoint that is where its URI says, unaltered, and where KServe can load it from.

    Raises:
        ClusterError: it is not.
    """
    root, found, name = served.uri.rpartition(_SERVING)
    if not served.uri.startswith("s3://") or not found:
        raise ClusterError(
            "promotion.not-in-bucket",
            field="workspace",
            problem=f"{served.uri} is not in an object store, and the pods of KServe cannot load it",
            remedy="run the study with --out s3://bucket/prefix",
        )
    there = open_store(root).digest(f"serving/{name}")
    if there != served.digest:
        raise ClusterError(
            "promotion.digest-differs",
            field=served.uri,
            problem=f"holds {there or 'no complete checkpoint'}, and {served.digest} was promoted",
            remedy="promote the study again: the checkpoint is copied anew",
        )
    return served
