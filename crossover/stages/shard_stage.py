"""Shards of the corpus in the workspace: written one by one on as many machines as there are, merged by stage 1.

A shard is an artifact `shards/<i>-of-<n>-<digest>`, whose digest is of all that decides it, so that a rerun takes what
is there. Shards are scratch: they are deleted once the dataset is published.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from crossover.data.dataset_digests import dataset_digest
from crossover.data.shards.shard_files import MANIFEST
from crossover.data.shards.shard_plan import ShardSource, plan_shards, shard_number
from crossover.data.shards.shard_processes import make_shards
from crossover.errors import DataError, StorageError, StudyError
from crossover.progress import emit, events_wanted
from crossover.stages.study_context import StudyContext
from crossover.study.data_config import DataConfig
from crossover.study.study_digests import short

SHARDS = "shards"


def dataset_name(context: StudyContext) -> str:
    """Name of the study's dataset in the store."""
    return f"datasets/{short(dataset_digest(context.study))}"


def check_shards(count: int) -> None:
    """Check the pipeline parameter `data_shards`.

    Raises:
        StudyError: it is not positive.
    """
    if count < 1:
        problem = f"{count} shards read nothing"
        raise StudyError("run.bad-data-shards", field="data_shards", problem=problem, remedy="give 1 or more")


def shard_items(count: int) -> list[str]:
    """The shards of a corpus, for the tasks of a loop: `1/3`, `2/3`, `3/3`."""
    return [f"{number}/{count}" for number in range(1, count + 1)]


def shard_stage(context: StudyContext, shard: str) -> str:
    """Write one shard and publish it, unless it is there, or the dataset that it would be for.

    Args:
        context: the study.
        shard: which, such as `3/16`. That of `1/1` is not written: who merges it would read it as fast.

    Returns:
        Its name in the store; empty if it was not needed.

    Raises:
        StudyError: there is no such shard.
        DataError: a file cannot be read, or a document is bad and the study refuses those.
        WorkspaceError, StorageError: it cannot be written.
    """
    number, of = _parsed(shard)
    if of == 1 or context.store.digest(dataset_name(context)) is not None:
        return ""
    source = plan_shards(context.study.data, of)[number - 1]
    name = _name(source)
    if context.store.digest(name) is None:
        make_shards(context.study.data, [source], context.store.path(SHARDS))
        context.store.publish(name)
    return name


def finished_shards(context: StudyContext, of: int = 1) -> list[Path]:
    """The local folders of all shards of the corpus, in their order; those that are not there are made.

    Args:
        context: the study.
        of: how many; 1 for as many as have been begun, or as are worth while.

    Raises:
        DataError: a file cannot be read, or a document is bad and the study refuses those.
        WorkspaceError, StorageError: a shard cannot be written or fetched.
    """
    data, store = context.study.data, context.store
    found = _found(context, MANIFEST)
    sources = _plan(data, of, found)
    missing = [source for source in sources if source.name not in found or not _fetched(context, _name(source))]
    make_shards(data, missing, store.path(SHARDS))
    return [store.path(_name(source)) for source in sources]


def delete_shards(context: StudyContext) -> None:
    """Delete the shards of the study's corpus, here and in the store, finished or not; those of other settings stay."""
    found = _found(context)
    counts = {number[1] for number in map(shard_number, found) if number}
    try:
        own = {source.name for count in counts for source in plan_shards(context.study.data, count)}
    except (DataError, StorageError):
        return  # the corpus is gone, which the dataset does not need: these may be of any settings
    for name in found & own:
        context.store.delete(f"{SHARDS}/{name}")
    with suppress(OSError):  # others stay in it, or there is none
        context.store.path(SHARDS).rmdir()


def _found(context: StudyContext, file: str = "") -> set[str]:
    """Names of the shards in the store, and of the folders on this machine, or those with such a file."""
    stored = {name.rpartition("/")[2] for name in context.store.names(SHARDS)}
    return stored | {path.name for path in context.store.path(SHARDS).glob("*") if (path / file).exists()}


def _name(source: ShardSource) -> str:
    return f"{SHARDS}/{source.name}"


def _plan(data: DataConfig, of: int, found: Iterable[str]) -> Sequence[ShardSource]:
    """So many shards; where that is not said, the cut of which most shards are there."""
    numbers = Counter(number[1] for number in map(shard_number, found) if number)
    wanted = [of] if of > 1 else [number for number, _ in numbers.most_common()]
    plans = [plan_shards(data, number) for number in wanted]
    best = max(plans, key=lambda plan: sum(source.name in found for source in plan), default=None)
    known = sum(source.name in found for source in best or ())
    if known < sum(numbers.values()):
        _note(f"{sum(numbers.values()) - known} shards in the workspace are of other files or settings")
    return best if best and (of > 1 or known) else plan_shards(data)


def _fetched(context: StudyContext, name: str) -> bool:
    """Whether a shard is on this machine now, and as it was written; an altered one is deleted."""
    try:
        if context.store.digest(name) is not None:
            context.store.fetch(name)
        return True
    except StorageError as error:
        if error.code not in ("storage.altered", "storage.missing"):
            raise
        context.store.delete(name)
        return False


def _parsed(shard: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", shard.strip())
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        raise StudyError(
            "run.bad-shard",
            field="--shard",
            problem=f"{shard!r} is no shard",
            remedy="write I/N, such as 3/16 for the third of sixteen",
        )
    return number, of


def _note(text: str) -> None:
    if events_wanted():
        emit("note", text=text)
    else:
        print(text, flush=True)
