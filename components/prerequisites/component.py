"""Everything that a study needs is checked before anything is computed."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prerequisites(
    study: str,
    workspace: str,
    registry: str,
    endpoint: str,
    seeds_per_task: int,
    promotion: str,
    runs: str,
    gpu_steps: str,
    data_shards: int,
    checked_study: dsl.Output[dsl.Artifact],
) -> list:  # type: ignore[type-arg]  # kfp knows the bare type alone
    """Check the study, every parameter, and what the steps need of the cluster; nothing is computed.

    Args:
        study: preset name, the study as JSON or YAML text, base64:TEXT, or s3://bucket/prefix of a workspace.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        endpoint: name of the InferenceService that serves the winner; empty for none.
        seeds_per_task: seeds that one pretraining task trains one after the other.
        promotion: verdict, always, or never.
        runs: the runs of a round, such as u10000-nano:0,1,2; empty for all.
        gpu_steps: steps whose pods have GPUs, as they were compiled; comma-separated.
        data_shards: shards that the corpus is read in.
        checked_study: the study with all defaults, as the later steps read it.

    Returns:
        The shards of the corpus, such as 3/16.
    """
    from pathlib import Path

    from crossover_cluster.prerequisites import check_prerequisites

    from crossover.settings import get_settings
    from crossover.stages.pipeline_stage import check_gpu_steps, check_parameters, pipeline_stage
    from crossover.stages.shard_stage import check_shards, shard_items

    with pipeline_stage("prerequisites", registry):
        config = check_parameters(study, promotion, seeds_per_task, runs)
        check_shards(data_shards)
        check_gpu_steps(config, gpu_steps)
        check_prerequisites(
            config,
            workspace=workspace.strip(),
            registry=registry.strip(),
            endpoint=endpoint.strip(),
            train_jobs=bool(get_settings().train_job),
        )
        Path(checked_study.path).write_text(config.model_dump_json(), encoding="utf-8")
        checked_study.metadata.update(display_name=config.name, digest=config.digest)
        return shard_items(data_shards)
