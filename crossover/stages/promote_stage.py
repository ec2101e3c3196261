"""Step 5: the winning checkpoint becomes the served one."""

from __future__ import annotations

import shutil
from pathlib import Path

from crossover.errors import WorkspaceError
from crossover.files import workspace_error
from crossover.stages.stage_manifests import AnalysisRef, Candidate, DeploymentRef
from crossover.stages.study_context import StudyContext
from crossover.training.checkpoint import checkpoint_digest, read_info, step_folder

CURRENT = "current.json"


def candidate_folder(context: StudyContext, candidate: Candidate) -> Path:
    """The local folder of a candidate's checkpoint."""
    relative = step_folder(Path("runs") / candidate.run / "checkpoints", candidate.step)
    return context.workspace.pull(relative.as_posix())


def promote_stage(context: StudyContext, analysis: AnalysisRef) -> DeploymentRef:
    """Copy the winner to `serving/`, name it in `serving/current.json`, and record the deployment.

    Raises:
        WorkspaceError: the analysis says hold.
        CheckpointError: the winner's checkpoint is torn or altered.
    """
    if analysis.decision != "promote":
        raise WorkspaceError(
            "promotion.held",
            field="promotion",
            problem=f"the analysis holds the promotion ({analysis.reason})",
            remedy="add seeds until the verdict is settled, or analyse again with --promote always",
        )
    source = candidate_folder(context, analysis.winner)
    read_info(source)
    digest = checkpoint_digest(source)
    target = context.workspace.root / "serving" / digest.removeprefix("sha256:")[:16]
    try:
        if not target.exists():
            partial = target.with_name(f".{target.name}")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial)
            partial.rename(target)
    except OSError as error:
        raise workspace_error(target, error) from error
    deployment = DeploymentRef(
        study=context.study.digest,
        uri=context.workspace.uri_of(target),
        digest=digest,
        candidate=analysis.winner,
        reason=analysis.reason,
    )
    deployment.write(context.workspace.root / "serving" / CURRENT)
    context.workspace.push("serving")
    winner = analysis.winner
    context.registry.record_deployment(
        context.study.digest,
        context.run_key(winner.cell, winner.arm, winner.seed),
        step=winner.step,
        uri=deployment.uri,
        digest=digest,
        analysis_digest=analysis.digest,
        reason=analysis.reason,
    )
    return deployment
