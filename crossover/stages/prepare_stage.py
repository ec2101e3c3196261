"""Stage 1: the corpus becomes a dataset and items of tasks, and the grid becomes groups of runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from crossover.data.dataset import MANIFEST, Dataset, DatasetManifest
from crossover.data.dataset_digests import dataset_digest
from crossover.data.disjoint_split import TaskTexts
from crossover.data.prepare_dataset import prepare_cloze, prepare_dataset
from crossover.data.split_corpus import SplitCorpus, read_corpus
from crossover.data.task_items import TaskItems
from crossover.data.task_packs import CONTAMINATING, EVALUATED, find_pack, item_texts
from crossover.errors import StorageError
from crossover.evaluation.tasks.preparing import cloze_digest, items_digest, prepare_pack
from crossover.files import read_json, writing_to
from crossover.progress import emit, events_wanted
from crossover.settings import get_settings
from crossover.stages.corpus_record import record_corpus, record_task_inputs
from crossover.stages.run_selection import parse_selection
from crossover.stages.shard_stage import dataset_name, delete_shards, finished_shards
from crossover.stages.stage_manifests import DatasetRef, Group, TaskRef
from crossover.stages.study_context import StudyContext
from crossover.stages.sweep_results import drop_stale_results, examples_digest
from crossover.stages.tokenizer_record import check_tokenizer, record_tokenizer
from crossover.storage import ANY, file_lock
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import short
from crossover.study.study_parts import DOMAIN_CLOZE
from crossover.study.sweep_study import require_tuned

DATASET = "manifests/dataset.json"
"""The dataset, for stages that are started one by one."""


def prepare_stage(
    context: StudyContext, data_shards: int = 1, *, prepared: Path | None = None, twin: str = ""
) -> DatasetRef:
    """Prepare the corpus and the items of the tasks, or reuse what was prepared before; record the dataset.

    Two processes of one machine do so one after the other.

    Args:
        context: the study.
        data_shards: shards that the corpus was cut into by `shard_stage`; 1 for as many as have been begun, if any.
        prepared: a dataset of the same data with the same budgets and more, which is linked in place of one that is
            made, or that holds other examples: a sweep takes that of its study.
        twin: its URI: a bucket copies it.

    Raises:
        DataError: an empty, missing or too small corpus, undecodable files, a missing or malformed pack, a tokenizer
            that is another one than before.
        StorageError: the workspace cannot be written.
        StudyError: the study came with results of a sweep that was made on other text.
    """
    check_tokenizer(context.study)
    with _alone(context), ExitStack() as stack:
        corpus: list[SplitCorpus] = []

        def read() -> SplitCorpus:
            """The corpus, read when something first needs it."""
            if not corpus:
                shards, tasks = finished_shards(context, data_shards), _task_texts(context.study)
                scratch = context.store.path("datasets")
                corpus.append(stack.enter_context(read_corpus(context.study.data, scratch, tasks, shards)))
            return corpus[0]

        name = dataset_name(context)
        folder = _ensure(
            context,
            name,
            lambda folder: (
                shutil.copytree(prepared, folder, copy_function=os.link, dirs_exist_ok=True)
                if prepared
                else prepare_dataset(context.study, read(), folder)
            ),
            holds=lambda folder: prepared is None or _examples(context, folder) == _examples(context, prepared),
            twin=twin,
        )
        dataset = Dataset.open(folder)
        for line in dataset.manifest.sources.lines() if events_wanted() else ():
            emit("note", text=line)
        record_tokenizer(context.study, context.store, dataset.manifest.tokens.revision)
        record_corpus(context.study, context.store, dataset.manifest)
        tasks = tuple(_task(context, task, dataset, read) for task in context.study.evaluation.tasks)
        delete_shards(context)
    manifest = dataset.manifest
    drop_stale_results(context.study, context.store, manifest, own=context.came_tuned)
    context.registry.register_dataset(context.study.digest, manifest.digest, manifest.model_dump(mode="json"))
    uri = context.store.uri_of(name)
    return DatasetRef(study=context.study.digest, uri=uri, digest=manifest.digest, tasks=tasks)


@contextmanager
def _alone(context: StudyContext) -> Iterator[None]:
    """Hold the datasets of the workspace, or of its copy on this machine, against other processes."""
    path = context.store.path("datasets")
    with ExitStack() as stack:
        with writing_to(path):
            waiting = f"another process prepares data in {context.store.uri}; waiting for it"
            stack.enter_context(file_lock(path.with_name(".preparing.lock"), waiting))
        yield


def leave_dataset(context: StudyContext, reference: DatasetRef) -> None:
    """Leave the manifest in the workspace, for stages that are started one by one, wherever they run."""
    context.store.write_document(DATASET, reference.model_dump(mode="json"), replaces=ANY)


def prepared_dataset(context: StudyContext) -> Dataset:
    """The dataset of a study, for stages to which no manifest names it: the pods of later stages have no task packs.

    Raises:
        StorageError: it is missing or altered.
    """
    document = context.store.read_document(DATASET)
    if document is not None and document.value.get("study") == context.study.digest:
        return open_dataset(context, DatasetRef.parse(document.value, DATASET))
    return Dataset.open(context.store.fetch(f"datasets/{short(dataset_digest(context.study))}"))


def _task_texts(study: StudyConfig) -> TaskTexts:
    """The items of every pack that the study names, to be looked for in the training documents."""
    fields = dict.fromkeys(study.data.contamination.tasks, CONTAMINATING)
    fields |= dict.fromkeys((name for name in study.evaluation.tasks if name != DOMAIN_CLOZE), EVALUATED)
    packs = get_settings().tasks
    return {name: item_texts(find_pack(name, packs, field), packs, field) for name, field in sorted(fields.items())}


def _task(context: StudyContext, task: str, dataset: Dataset, read: Callable[[], SplitCorpus]) -> TaskRef:
    """The items of one task."""
    study, packs = context.study, get_settings().tasks
    if task == DOMAIN_CLOZE:
        request = cloze_digest(dataset.manifest.corpus, dataset.manifest.content, study)
        name = f"tasks/{task}/{short(request)}"
        _ensure(context, name, lambda folder: prepare_cloze(study, dataset, read(), folder))
    else:
        pack = find_pack(task, packs)
        name = f"tasks/{task}/{short(items_digest(pack, study))}"
        _ensure(context, name, lambda folder: prepare_pack(pack, study, packs, folder, dataset.tokenizer))
    items = TaskItems.open(context.store.fetch(name))
    record_task_inputs(context.store, name, items.manifest)
    return TaskRef(name=task, uri=context.store.uri_of(name), digest=items.manifest.digest)


def _examples(context: StudyContext, folder: Path) -> str:
    return examples_digest(context.study, DatasetManifest.model_validate(read_json(folder / MANIFEST)))


def _ensure(
    context: StudyContext,
    name: str,
    make: Callable[[Path], object],
    *,
    holds: Callable[[Path], bool] = lambda _: True,
    twin: str = "",
) -> Path:
    """The local folder of an artifact, which is made and published unless the store holds it unaltered, as wanted."""
    if context.store.digest(name) is not None:
        try:
            if holds(folder := context.store.fetch(name)):
                return folder
        except StorageError as error:
            if error.code != "storage.altered":
                raise
    if (folder := context.store.path(name)).exists():
        shutil.rmtree(folder)  # what a process that was killed has left
    make(folder)
    context.store.publish(name, twin)
    return context.store.path(name)


def open_dataset(context: StudyContext, reference: DatasetRef) -> Dataset:
    """The dataset that a manifest names, checked against its digest.

    Raises:
        StorageError: it is missing, altered, or not the one that the manifest names.
    """
    return Dataset.open(context.store.fetch(context.store.name_of(reference.uri), reference.digest))


def open_tasks(context: StudyContext, reference: DatasetRef) -> dict[str, TaskItems]:
    """The items of every task that a manifest names, checked against their digests.

    Raises:
        StorageError: items are missing, altered, or not those that the manifest names.
    """
    fetch, name_of = context.store.fetch, context.store.name_of
    return {task.name: TaskItems.open(fetch(name_of(task.uri), task.digest)) for task in reference.tasks}


def plan_groups(
    context: StudyContext, seeds_per_task: int, runs: str = "", done: Collection[RunId] = ()
) -> list[Group]:
    """Cut cells x arms x seeds into groups; the arms of a seed stand next to each other.

    Args:
        context: the study.
        seeds_per_task: how many seeds one task does one after the other; at least 1.
        runs: the runs of a round as `stages.run_selection` writes them; empty for all.
        done: runs that are done already; those of a cell and an arm are one group, which costs one short task.

    Raises:
        StudyError: `runs` names what the study does not have, or its sweep has not been made.
    """
    require_tuned(context.study)
    size, known = max(1, seeds_per_task), frozenset(done)
    finished, left = [], []
    for cell, seeds in parse_selection(context.study, runs).items():
        of_arm = {arm: [seed for seed in seeds if RunId(cell, arm, seed) not in known] for arm in context.study.arms}
        for arm, missing in of_arm.items():
            if kept := tuple(seed for seed in seeds if seed not in missing):
                finished.append(Group(cell=cell, arm=arm, seeds=kept))
        left += [
            Group(cell=cell, arm=arm, seeds=tuple(missing[start : start + size]))
            for start in range(0, len(seeds), size)
            for arm, missing in of_arm.items()
            if missing[start : start + size]
        ]
    return finished + left
