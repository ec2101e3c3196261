"""The corpus becomes a dataset, and the grid becomes groups of runs."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def data_preparation(
    study: str,
    workspace: str,
    registry: str,
    seeds_per_task: int,
    promotion: str,
    runs: str,
    dataset: dsl.Output[dsl.Dataset],
) -> list:  # type: ignore[type-arg]
    """Prepare the corpus and plan the runs.

    Args:
        study: preset name, or the study as JSON or YAML text.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        seeds_per_task: seeds that one pretraining task trains one after the other.
        promotion: verdict, always, or never; checked here, before anything is trained.
        runs: the runs of a round, such as u10000-nano:0,1,2; empty for all.
        dataset: manifest with URI and digest.

    Returns:
        One dict of strings a group of runs: cell, arm, seeds.
    """
    from pathlib import Path

    from crossover.stages.pipeline_stage import check_parameters, open_pipeline_stage
    from crossover.stages.prepare_stage import plan_groups, prepare_stage

    with open_pipeline_stage("data_preparation", study, workspace, registry) as context:
        check_parameters(context.study, promotion, seeds_per_task, runs)
        reference = prepare_stage(context)
        reference.write(Path(dataset.path))
        dataset.metadata.update(uri=reference.uri, digest=reference.digest)
        return [group.item for group in plan_groups(context, seeds_per_task, runs)]
