"""Finished runs and their evaluations, looked up in the store by their digests; nothing is trained or measured."""

from __future__ import annotations

from crossover.errors import WorkspaceError
from crossover.stages.evaluate_stage import evaluate_stage
from crossover.stages.finished_runs import trained_runs
from crossover.stages.prepare_stage import plan_groups, prepare_stage
from crossover.stages.reuse import plan_reuse
from crossover.stages.stage_manifests import EvaluationsRef
from crossover.stages.study_context import StudyContext
from crossover.storage import ArtifactStore
from crossover.study.study_config import StudyConfig


def measured_runs(context: StudyContext) -> list[EvaluationsRef]:
    """Every run of the study with its evaluations, all of them stored; recorded for this revision of the study.

    Raises:
        WorkspaceError: a run or an evaluation is missing.
    """
    check_finished(context.study, context.store)
    reference = prepare_stage(context)
    return [
        evaluate_stage(context, reference, trained_runs(context, reference, group))
        for group in plan_groups(context, len(context.study.seeds))
    ]


def check_finished(study: StudyConfig, store: ArtifactStore) -> None:
    """See whether a workspace has all runs and evaluations of a study; writes nothing.

    Raises:
        WorkspaceError: a run or an evaluation is missing.
    """
    reuse = plan_reuse(study, store)
    missing = [f"{row.artifact} {row.new}" for row in reuse.rows if row.new and row.artifact != "analysis"]
    if missing:
        raise WorkspaceError(
            "workspace.unfinished-study",
            field=study.name,
            problem=f"is not finished in {store.uri}; missing: {', '.join(missing)}",
            remedy="run `crossover run` with this study, which makes only what is missing",
        )
