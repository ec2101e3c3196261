"""Check → shards → prepare → sweep → pretrain each group → gather → evaluate each → analyse → promote if settled.

The topology is the one that kfp.local and the backend agree on, and that Kubeflow's page can draw while a run fails:
each dynamic loop is over an unnamed list output and has one task; fan-in by `dsl.Collected`; the condition is on an
unnamed string output. Between the loops a task gathers the trained runs: the compiler cannot hand what one loop
collects to another one. The loop of the sweep has one item that does nothing where there is no sweep: kfp.local fails
to collect from a loop without any.
"""

from crossover_components.corpus_shard.component import corpus_shard
from crossover_components.crossover_analysis.component import crossover_analysis
from crossover_components.data_preparation.component import data_preparation
from crossover_components.evaluation.component import evaluation
from crossover_components.prerequisites.component import prerequisites
from crossover_components.pretraining.component import pretraining
from crossover_components.promotion.component import promotion as promotion_stage
from crossover_components.training_summary.component import training_summary
from crossover_components.tuning.component import tuning
from crossover_components.tuning_summary.component import tuning_summary
from crossover_pipelines.cluster_profile import ClusterProfile
from crossover_pipelines.pod_settings import apply_profile
from kfp import dsl
from kfp.dsl.base_component import BaseComponent

NAME = "crossover-study"
DESCRIPTION = (
    "Should you pretrain an autoregressive (AR) or a masked diffusion (DLM) language model on your data? Trains both "
    "under matched conditions over several seeds, finds where they cross, and promotes the winner."
)
LITERALS = {"promotion": ["verdict", "always", "never"]}
"""Parameters that the form shows as drop-downs; the SDK cannot write them."""


def build_pipeline(parallelism: int = 0, profile: ClusterProfile | None = None) -> BaseComponent:
    """The pipeline.

    Args:
        parallelism: groups at once; 0 leaves it to the cluster. kfp.local runs two at most.
        profile: what the pods get; None for this machine, where there are no pods.
    """
    form = profile or ClusterProfile()

    def step(task: dsl.PipelineTask) -> dsl.PipelineTask:
        task.set_caching_options(False)
        if profile is not None:
            apply_profile(task, task.component_spec.name.replace("-", "_"), profile)
        return task

    config = dsl.PipelineConfig(ttl_seconds_after_finished=form.ttl_seconds)

    @dsl.pipeline(name=NAME, description=DESCRIPTION, pipeline_config=config)
    def crossover_study(
        study: str = "demo",
        workspace: str = form.workspace,
        registry: str = form.registry,
        endpoint: str = form.endpoint,
        seeds_per_task: int = 1,
        promotion: str = "verdict",
        runs: str = "",
        data_shards: int = 1,
    ) -> None:
        """The pipeline.

        Args:
            study: Preset name (demo, smoke, ...), the study as JSON, base64:TEXT, or s3://bucket/prefix of a workspace.
            workspace: Folder or s3://bucket/prefix that holds all of the study.
            registry: http(s) URL of the registry service; empty for CROSSOVER_REGISTRY_URL of the pods.
            endpoint: Name of the InferenceService that serves the winner; empty for none.
            seeds_per_task: Seeds that one pod trains one after the other.
            promotion: When the winner is served. verdict is after a settled verdict; always; never.
            runs: Runs of one round as `crossover next` prints them; empty for all.
            data_shards: Pods that read and clean the corpus, each a part of its files.
        """
        plan = {"seeds_per_task": seeds_per_task, "runs": runs}
        places = {"workspace": workspace, "registry": registry}
        gpus = ",".join(form.gpu_steps)
        asked = {"study": study, "endpoint": endpoint, "promotion": promotion, "data_shards": data_shards}
        checked = step(prerequisites(gpu_steps=gpus, **asked, **places, **plan))
        common = {"study": checked.outputs["checked_study"], **places}
        with dsl.ParallelFor(checked.outputs["Output"], "read-shard", parallelism or None) as shard:
            read = step(corpus_shard(**common, shard=shard))
        shards = dsl.Collected(read.output)
        prepared = step(data_preparation(**common, seeds_per_task=seeds_per_task, shards=shards))
        with dsl.ParallelFor(prepared.outputs["Output"], "tune-cell-arm-seeds", parallelism or None) as group:
            place = {"cell": group.cell, "arm": group.arm, "seeds": group.seeds}
            tried = step(tuning(**common, **place))
        losses = dsl.Collected(tried.outputs["losses"])
        tuned = step(tuning_summary(**common, **plan, dataset=prepared.outputs["dataset"], losses=losses))
        common["study"], dataset = tuned.outputs["tuned_study"], tuned.outputs["tuned_dataset"]
        with dsl.ParallelFor(tuned.outputs["Output"], "pretrain-cell-arm-seeds", parallelism or None) as group:
            place = {"cell": group.cell, "arm": group.arm, "seeds": group.seeds}
            trained = step(pretraining(**common, **place, dataset=dataset))
        gathered = step(training_summary(**common, **plan, trained=dsl.Collected(trained.outputs["trained"])))
        with dsl.ParallelFor(gathered.outputs["Output"], "evaluate-cell-arm-seeds", parallelism or None) as group:
            place = {"cell": group.cell, "arm": group.arm, "seeds": group.seeds}
            every = gathered.outputs["trained_runs"]
            measured = step(evaluation(**common, **place, dataset=dataset, trained_runs=every))
        evaluations = dsl.Collected(measured.outputs["evaluations"])
        analysed = step(crossover_analysis(**common, promotion=promotion, runs=runs, evaluations=evaluations))
        with dsl.If(analysed.outputs["Output"] == "promote", name="promoted"):
            step(promotion_stage(**common, endpoint=endpoint, analysis=analysed.outputs["analysis"]))

    return crossover_study
