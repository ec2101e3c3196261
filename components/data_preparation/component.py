"""The corpus becomes a dataset, and the sweep becomes groups of runs."""

from crossover_components.image import IMAGE
from kfp import dsl


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def data_preparation(
    study: dsl.Input[dsl.Artifact],
    workspace: str,
    registry: str,
    seeds_per_task: int,
    shards: list,  # type: ignore[type-arg]  # as below
    dataset: dsl.Output[dsl.Dataset],
    data_card: dsl.Output[dsl.Markdown],
    data_card_page: dsl.Output[dsl.HTML],
) -> list:  # type: ignore[type-arg]  # kfp knows the bare type alone
    """Prepare the corpus and plan the sweep.

    Args:
        study: the checked study.
        workspace: folder or s3://bucket/prefix that holds all of the study.
        registry: http(s) URL of the service, or SQLAlchemy URL without a password; empty for CROSSOVER_REGISTRY_URL.
        seeds_per_task: seeds that one task of a sweep trains one after the other.
        shards: one entry for each shard that the corpus was cut into.
        dataset: manifest with URI and digest.
        data_card: what is in the dataset, and what each step of the preparation left out.
        data_card_page: the same as a page with histograms.

    Returns:
        One dict of strings a group of runs of the sweep: cell, arm, seeds; an empty one where there is no sweep.
    """
    from pathlib import Path

    from crossover.report.data_card import card_html, card_markdown
    from crossover.report.data_card import data_card as data_card_of
    from crossover.stages.pipeline_stage import open_pipeline_stage
    from crossover.stages.prepare_stage import leave_dataset, open_dataset, prepare_stage
    from crossover.stages.tune_stage import sweep_items

    with open_pipeline_stage("data_preparation", study.path, workspace, registry) as context:
        reference = prepare_stage(context, len(shards))
        leave_dataset(context, reference)
        reference.write(Path(dataset.path))
        dataset.metadata.update(uri=reference.uri, digest=reference.digest)
        card = data_card_of(context.study, open_dataset(context, reference).manifest)
        Path(data_card.path).write_text(card_markdown(card), encoding="utf-8")
        Path(data_card_page.path).write_text(card_html(card), encoding="utf-8")
        return sweep_items(context, reference, seeds_per_task)
