"""One shard of the corpus is read, cleaned and hashed, to be merged by data_preparation."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def corpus_shard(study: dsl.Input[dsl.Artifact], workspace: str, registry: str, shard: str) -> str:
    """Read one shard of the corpus, unless it is in the workspace.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        shard: which, such as 3/16; nothing is done for 1/1.

    Returns:
        The shard's name in the workspace; empty if it is not needed.
    """
    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.shard_stage import shard_stage

    with open_pipeline_stage("corpus_shard", study.path, workspace, registry) as context:
        return shard_stage(context, shard)
