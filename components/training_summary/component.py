"""The trained runs are gathered, and become groups to evaluate."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def training_summary(
    study: dsl.Input[dsl.Artifact],
    workspace: str,
    registry: str,
    seeds_per_task: int,
    runs: str,
    trained: dsl.Input[list[dsl.Model]],
    trained_runs: dsl.Output[dsl.Model],
    table: dsl.Output[dsl.Markdown],
) -> list:  # type: ignore[type-arg]  # kfp knows the bare type alone
    """Gather the manifests of all trained runs and plan their evaluation.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        seeds_per_task: seeds that one evaluation task measures one after the other.
        runs: the runs of a round, such as u10000-nano:0,1,2; empty for all.
        trained: manifests of the trained runs.
        trained_runs: one manifest of them all.
        table: the runs and their checkpoints.

    Returns:
        One dict of strings a group of runs: cell, arm, seeds.
    """
    from pathlib import Path

    from crossover.stages.kubeflow_figures import training_table
    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.prepare_stage import plan_groups
    from crossover.stages.reuse import plan_reuse
    from crossover.stages.stage_manifests import RunsRef

    with open_pipeline_stage("training_summary", study.path, workspace, registry) as context:
        merged = RunsRef.merged([RunsRef.read(Path(item.path)) for item in trained])
        merged.write(Path(trained_runs.path))
        Path(table.path).write_text(training_table(context.study, merged), encoding="utf-8")
        evaluated = plan_reuse(context.study, context.store, runs).evaluated
        return [group.item for group in plan_groups(context, seeds_per_task, runs, done=evaluated)]
