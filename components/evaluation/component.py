"""Measure every checkpoint of finished runs."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluation(
    study: dsl.Input[dsl.Artifact],
    workspace: str,
    registry: str,
    cell: str,
    arm: str,
    seeds: str,
    dataset: dsl.Input[dsl.Dataset],
    trained_runs: dsl.Input[dsl.Model],
    evaluations: dsl.Output[dsl.Artifact],
) -> None:
    """Evaluate all checkpoints of a group of runs; results kept from before are not made again.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        cell: name of the cell, such as u10000-nano.
        arm: name of the arm, such as dlm.
        seeds: comma-separated.
        dataset: manifest of the prepared corpus.
        trained_runs: manifest of the checkpoints of all runs.
        evaluations: manifest of the results.
    """
    from pathlib import Path

    from crossover.stages.evaluate_stage import evaluate_stage
    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.stage_manifests import DatasetRef, Group, RunsRef

    with open_pipeline_stage("evaluation", study.path, workspace, registry) as context:
        group = RunsRef.read(Path(trained_runs.path)).of_group(Group.parse(cell, arm, seeds))
        reference = evaluate_stage(context, DatasetRef.read(Path(dataset.path)), group)
        reference.write(Path(evaluations.path))
        evaluations.metadata.update(display_name=f"{cell} {arm} seeds {seeds}", cell=cell, arm=arm, seeds=seeds)
