"""Step 1: the corpus becomes a dataset, and the grid becomes groups of runs."""

from __future__ import annotations

from crossover.data.prepare_dataset import prepare
from crossover.evaluation.tasks.preparing import prepare_tasks
from crossover.settings import get_settings
from crossover.stages.run_selection import parse_selection
from crossover.stages.stage_manifests import DatasetRef, Group
from crossover.stages.study_context import StudyContext


def prepare_stage(context: StudyContext) -> DatasetRef:
    """Prepare the corpus, or find it prepared; record it."""
    context.workspace.pull("dataset")
    packs = get_settings().tasks
    dataset = prepare(context.study, context.dataset_folder, lambda folder: prepare_tasks(context.study, packs, folder))
    context.workspace.push("dataset")
    digest = dataset.manifest.digest
    context.registry.register_dataset(context.study.digest, digest, dataset.manifest.model_dump(mode="json"))
    return DatasetRef(study=context.study.digest, uri=context.workspace.uri_of(context.dataset_folder), digest=digest)


def plan_groups(context: StudyContext, seeds_per_task: int, runs: str = "") -> list[Group]:
    """Cut cells x arms x seeds into groups; the arms of a seed stand next to each other.

    Args:
        context: the study.
        seeds_per_task: how many seeds one pretraining task does one after the other; at least 1.
        runs: the runs of a round as `steps.selection` writes them; empty for all.

    Raises:
        StudyError: `runs` names what the study does not have.
    """
    size = max(1, seeds_per_task)
    return [
        Group(cell=cell, arm=arm, seeds=seeds[start : start + size])
        for cell, seeds in parse_selection(context.study, runs).items()
        for start in range(0, len(seeds), size)
        for arm in context.study.arms
    ]
