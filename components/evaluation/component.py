"""Measure every checkpoint of finished runs."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluation(
    study: str,
    workspace: str,
    registry: str,
    dataset: dsl.Input[dsl.Dataset],
    runs: dsl.Input[dsl.Model],
    evaluations: dsl.Output[dsl.Artifact],
) -> None:
    """Evaluate all checkpoints of the runs; results kept from before are not made again.

    Args:
        study: preset name, or the study as JSON or YAML text.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        dataset: manifest of the prepared corpus.
        runs: manifest of the trained runs' checkpoints.
        evaluations: manifest of the results.
    """
    from pathlib import Path

    from crossover.stages.evaluate_stage import evaluate_stage
    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.stage_manifests import DatasetRef, RunsRef

    with open_pipeline_stage("evaluation", study, workspace, registry) as context:
        reference = evaluate_stage(context, DatasetRef.read(Path(dataset.path)), RunsRef.read(Path(runs.path)))
        reference.write(Path(evaluations.path))
        evaluations.metadata.update(runs=", ".join(run.id.key for run in reference.runs))
