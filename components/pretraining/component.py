"""Train the runs of a group."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def pretraining(
    study: str,
    workspace: str,
    registry: str,
    cell: str,
    arm: str,
    seeds: str,
    dataset: dsl.Input[dsl.Dataset],
    runs: dsl.Output[dsl.Model],
) -> None:
    """Train every run of a group to its end; finished runs cost nothing, interrupted ones go on.

    Args:
        study: preset name, or the study as JSON or YAML text.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        cell: name of the cell, such as u10000-nano.
        arm: name of the arm, such as dlm.
        seeds: comma-separated.
        dataset: manifest of the prepared corpus.
        runs: manifest of the trained runs' checkpoints.
    """
    from pathlib import Path

    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.pretrain_stage import pretrain_stage
    from crossover.stages.stage_manifests import DatasetRef, Group

    with open_pipeline_stage("pretraining", study, workspace, registry) as context:
        group = Group.parse(cell, arm, seeds)
        reference = pretrain_stage(context, DatasetRef.read(Path(dataset.path)), group)
        reference.write(Path(runs.path))
        runs.metadata.update(cell=cell, arm=arm, seeds=seeds, runs=", ".join(run.id.key for run in reference.runs))
