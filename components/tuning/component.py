"""Train and measure the runs of a group of the sweep."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tuning(
    study: dsl.Input[dsl.Artifact],
    workspace: str,
    registry: str,
    cell: str,
    arm: str,
    seeds: str,
    losses: dsl.Output[dsl.Artifact],
) -> None:
    """Train and measure every run of a group of the sweep; finished runs cost nothing, interrupted ones go on.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        cell: name of the sweep's cell, such as u10000-nano; empty where there is no sweep, and nothing is done.
        arm: name of an arm of the sweep, which is a tuned arm with one setting, such as dlm-tried-0.
        seeds: comma-separated.
        losses: the held-out loss of each run; none of a run that diverged.
    """
    from pathlib import Path

    from crossover_cluster.train_job_settings import train_job_launch

    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.stage_manifests import Group, SweepLosses

    if not arm:
        SweepLosses(study="").write(Path(losses.path))
        return
    from crossover.stages.tune_stage import tune_group

    with open_pipeline_stage("tuning", study.path, workspace, registry) as context:
        tune_group(context, Group.parse(cell, arm, seeds), train_job_launch).write(Path(losses.path))
        losses.metadata.update(display_name=f"{cell} {arm} seeds {seeds}", cell=cell, arm=arm, seeds=seeds)
