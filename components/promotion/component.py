"""The winning checkpoint becomes the served one."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def promotion(
    study: dsl.Input[dsl.Artifact],
    workspace: str,
    registry: str,
    endpoint: str,
    analysis: dsl.Input[dsl.Artifact],
    deployment: dsl.Output[dsl.Model],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Promote what the analysis decided on.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        endpoint: name of the InferenceService that serves the winner; empty for none.
        analysis: manifest of the analysis and its decision.
        deployment: manifest of the served checkpoint.
        summary: what is served, and where.
    """
    from pathlib import Path

    from crossover.stages.kubeflow_figures import served_summary
    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.promote_stage import promote_stage
    from crossover.stages.stage_manifests import AnalysisRef

    with open_pipeline_stage("promotion", study.path, workspace, registry) as context:
        reference = promote_stage(context, AnalysisRef.read(Path(analysis.path)))
        reference.write(Path(deployment.path))
        deployment.metadata.update(uri=reference.uri, digest=reference.digest, reason=reference.reason)
        url = ""
        if endpoint.strip():
            from crossover_cluster.promotion import promote_to_kserve

            url = promote_to_kserve(context, reference, endpoint.strip()).url
        Path(summary.path).write_text(served_summary(reference, url), encoding="utf-8")
