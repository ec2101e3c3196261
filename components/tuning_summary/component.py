"""The arms choose their settings, and the grid becomes groups of runs."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tuning_summary(
    study: dsl.Input[dsl.Artifact],
    workspace: str,
    registry: str,
    seeds_per_task: int,
    runs: str,
    dataset: dsl.Input[dsl.Dataset],
    losses: dsl.Input[list[dsl.Artifact]],
    tuned_study: dsl.Output[dsl.Artifact],
    tuned_dataset: dsl.Output[dsl.Dataset],
    table: dsl.Output[dsl.Markdown],
) -> list:  # type: ignore[type-arg]  # kfp knows the bare type alone
    """Choose the settings of every tuned arm, and plan the runs of the study; without a sweep only the latter.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        seeds_per_task: seeds that one pretraining task trains one after the other.
        runs: the runs of a round, such as u10000-nano:0,1,2; empty for all.
        dataset: manifest of the prepared corpus.
        losses: of all runs of the sweep.
        tuned_study: the study with the results of its sweep, as the later steps read it.
        tuned_dataset: the manifest of the corpus for that study.
        table: every setting, its loss, and which were chosen.

    Returns:
        One dict of strings a group of runs: cell, arm, seeds.
    """
    from pathlib import Path

    from crossover.stages.kubeflow_figures import sweep_table
    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.prepare_stage import plan_groups
    from crossover.stages.reuse import plan_reuse
    from crossover.stages.stage_manifests import DatasetRef, SweepLosses
    from crossover.stages.tune_stage import finish_sweep

    with open_pipeline_stage("tuning_summary", study.path, workspace, registry) as context:
        parts = [SweepLosses.read(Path(item.path)) for item in losses]
        tuned, reference = finish_sweep(context, DatasetRef.read(Path(dataset.path)), parts)
        Path(tuned_study.path).write_text(tuned.study.model_dump_json(), encoding="utf-8")
        tuned_study.metadata.update(display_name=tuned.study.name, digest=tuned.study.digest)
        reference.write(Path(tuned_dataset.path))
        tuned_dataset.metadata.update(uri=reference.uri, digest=reference.digest)
        Path(table.path).write_text(sweep_table(tuned.study), encoding="utf-8")
        trained = plan_reuse(tuned.study, tuned.store, runs).trained
        return [group.item for group in plan_groups(tuned, seeds_per_task, runs, done=trained)]
