"""Stage 5: the winning checkpoint becomes the served one."""

from __future__ import annotations

import shutil

from crossover.errors import WorkspaceError
from crossover.files import workspace_error
from crossover.stages.stage_manifests import AnalysisRef, DeploymentRef
from crossover.stages.study_context import StudyContext
from crossover.storage import ANY
from crossover.study.study_digests import short
from crossover.training.checkpoint_info import read_info

CURRENT = "serving/current.json"


def planned_deployment(context: StudyContext, analysis: AnalysisRef) -> DeploymentRef:
    """What a promotion serves; nothing is written.

    Raises:
        WorkspaceError: the analysis says hold.
    """
    if analysis.decision != "promote":
        raise WorkspaceError(
            "promotion.held",
            field="promotion",
            problem=f"the analysis holds the promotion ({analysis.reason})",
            remedy="add seeds until the verdict is settled, or analyse again with --promote always",
        )
    winner = analysis.winner
    return DeploymentRef(
        study=context.study.digest,
        uri=context.store.uri_of(f"serving/{short(winner.checkpoint.digest)}"),
        digest=winner.checkpoint.digest,
        candidate=winner,
        reason=analysis.reason,
    )


def promote_stage(context: StudyContext, analysis: AnalysisRef) -> DeploymentRef:
    """Copy the winner to `serving/`, name it in `serving/current.json`, and record the deployment.

    Raises:
        WorkspaceError: the analysis says hold.
        CheckpointError, StorageError: the winner's checkpoint is missing, torn or altered.
    """
    deployment = planned_deployment(context, analysis)
    winner, store = analysis.winner, context.store
    source = store.fetch(store.name_of(winner.checkpoint.uri), winner.checkpoint.digest)
    read_info(source)
    name = store.name_of(deployment.uri)
    if store.digest(name) != winner.checkpoint.digest:
        target = store.path(name)
        try:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        except OSError as error:
            raise workspace_error(target, error) from error
        store.publish(name)
    store.write_document(CURRENT, deployment.model_dump(mode="json"), replaces=ANY)
    context.registry.record_deployment(
        context.study.digest,
        winner.run_digest,
        step=winner.checkpoint.step,
        uri=deployment.uri,
        digest=winner.checkpoint.digest,
        analysis_digest=analysis.winner_analysis,
        reason=analysis.reason,
    )
    return deployment
