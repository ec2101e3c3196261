"""Train the runs of a group."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def pretraining(
    study: dsl.Input[dsl.Artifact],
    workspace: str,
    registry: str,
    cell: str,
    arm: str,
    seeds: str,
    dataset: dsl.Input[dsl.Dataset],
    trained: dsl.Output[dsl.Model],
) -> None:
    """Train every run of a group to its end; finished runs cost nothing, interrupted ones go on.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        cell: name of the cell, such as u10000-nano.
        arm: name of the arm, such as dlm.
        seeds: comma-separated.
        dataset: manifest of the prepared corpus.
        trained: manifest of the trained runs' checkpoints.
    """
    from pathlib import Path

    from crossover_cluster.train_job_settings import train_job_launch

    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.pretrain_group import pretrain_group
    from crossover.stages.stage_manifests import DatasetRef, Group

    with open_pipeline_stage("pretraining", study.path, workspace, registry) as context:
        prepared = DatasetRef.read(Path(dataset.path))
        launch = train_job_launch(context, prepared)
        pretrain_group(context, prepared, Group.parse(cell, arm, seeds), launch).write(Path(trained.path))
        trained.metadata.update(display_name=f"{cell} {arm} seeds {seeds}", cell=cell, arm=arm, seeds=seeds)
