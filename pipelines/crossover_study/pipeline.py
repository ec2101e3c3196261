"""prepare → for each group: pretrain → evaluate → analyse (fan-in) → promote if the verdict says so.

The topology is the one that kfp.local and the backend agree on: one dynamic loop over an unnamed list output, its body
a sub-pipeline with parameters, fan-in by `dsl.Collected`, a condition on an unnamed string output.
"""

from crossover_components.crossover_analysis.component import crossover_analysis
from crossover_components.data_preparation.component import data_preparation
from crossover_components.evaluation.component import evaluation
from crossover_components.pretraining.component import pretraining
from crossover_components.promotion.component import promotion as promotion_stage
from kfp import dsl
from kfp.dsl.base_component import BaseComponent

NAME = "crossover-study"
DESCRIPTION = (
    "Should you pretrain an autoregressive (AR) or a masked diffusion (DLM) language model on your data? Trains both "
    "under matched conditions over several seeds, finds where they cross, and promotes the winner. Parameters: study = "
    "preset name (demo) or the study as YAML/JSON text; workspace = folder or s3://bucket/prefix; registry = http(s) "
    "URL of its service or SQLAlchemy URL without a password, empty for CROSSOVER_REGISTRY_URL; seeds_per_task = seeds "
    "trained one after the other in one pod; promotion = verdict, always or never; runs = the runs of one round as "
    "`crossover next` prints them, empty"
    " for all."
)


@dsl.pipeline(name="train-and-evaluate")
def train_and_evaluate(
    study: str, workspace: str, registry: str, cell: str, arm: str, seeds: str, dataset: dsl.Input[dsl.Dataset]
) -> dsl.Artifact:
    """One group of runs: train, then measure."""
    trained = pretraining(
        study=study, workspace=workspace, registry=registry, cell=cell, arm=arm, seeds=seeds, dataset=dataset
    )
    measured = evaluation(
        study=study, workspace=workspace, registry=registry, dataset=dataset, runs=trained.outputs["runs"]
    )
    for task in (trained, measured):
        task.set_caching_options(False)
    return measured.outputs["evaluations"]


def build_pipeline(parallelism: int = 0) -> BaseComponent:
    """The pipeline.

    Args:
        parallelism: groups at once; 0 leaves it to the cluster. kfp.local runs two at most.
    """

    @dsl.pipeline(name=NAME, description=DESCRIPTION)
    def crossover_study(
        study: str = "demo",
        workspace: str = "studies/demo",
        registry: str = "",
        seeds_per_task: int = 1,
        promotion: str = "verdict",
        runs: str = "",
    ) -> None:
        prepared = data_preparation(
            study=study,
            workspace=workspace,
            registry=registry,
            seeds_per_task=seeds_per_task,
            promotion=promotion,
            runs=runs,
        )
        prepared.set_caching_options(False)
        with dsl.ParallelFor(items=prepared.outputs["Output"], parallelism=parallelism or None) as group:
            done = train_and_evaluate(
                study=study,
                workspace=workspace,
                registry=registry,
                cell=group.cell,
                arm=group.arm,
                seeds=group.seeds,
                dataset=prepared.outputs["dataset"],
            )
        analysed = crossover_analysis(
            study=study,
            workspace=workspace,
            registry=registry,
            promotion=promotion,
            runs=runs,
            evaluations=dsl.Collected(done.output),
        )
        analysed.set_caching_options(False)
        with dsl.If(analysed.outputs["Output"] == "promote", name="promoted"):
            promoted = promotion_stage(
                study=study, workspace=workspace, registry=registry, analysis=analysed.outputs["analysis"]
            )
            promoted.set_caching_options(False)

    return crossover_study
