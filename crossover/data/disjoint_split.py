"""Documents to the sides of the split: by cluster of near-duplicates, and without contaminated ones, as a study says.

Documents are read twice: held-out n-grams, and then each goes to its side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from crossover.data.cleaning.cleaning_counts import TierCounts
from crossover.data.contamination import ContaminationCheck, batches
from crossover.data.deduplication.near_duplicates import split_by_cluster
from crossover.data.document_spool import TIER, Document
from crossover.data.overlap_counts import NAMES, NearCounts, OverlapCounts
from crossover.data.quality_tiers import select_tier
from crossover.data.split_side import SplitSide
from crossover.study.data_config import DataConfig

TaskTexts = Mapping[str, Iterable[tuple[str, str]]]
"""By task, name and text of each item."""
NO_TASKS: TaskTexts = {}
_NUMBER = "number"


def fill_sides(
    data: DataConfig,
    read: Callable[[], Iterable[Document]],
    clusters: tuple[NDArray[np.int64], NDArray[np.bool_]],
    train: SplitSide,
    validation: SplitSide,
    tasks: TaskTexts,
    tiers: dict[str, TierCounts],
) -> tuple[NearCounts, tuple[OverlapCounts, ...]]:
    """Put each document on its side, or leave it out.

    Args:
        data: what is done about near-duplicates and contamination.
        read: the distinct documents in a fixed order, anew at each call.
        clusters: the first document of each one's cluster, and whether its own digest holds it out. Shapes
            (documents,).
        train: filled.
        validation: filled.
        tasks: items whose n-grams are looked for in the training documents.
        tiers: tier to what is in it; filled.

    Returns:
        What was found and dropped.

    Raises:
        WorkspaceError: the scratch folder cannot be written.
    """
    first, own_sides = clusters
    held_out, kept = split_by_cluster(own_sides, first, data.deduplication.near)
    near_dropped = int((~kept).sum())
    measured = held_out & kept
    held_out_texts = ((document.name, document.text) for number, document in enumerate(read()) if measured[number])
    check = ContaminationCheck(data.contamination, held_out_texts, tasks)
    used = np.zeros(len(kept), dtype=np.bool_)
    for batch in batches(((number, one), one.text) for number, one in _of_tier(data, read, kept, held_out, tiers)):
        training = [(one.name, text) for (number, one), text in batch if not held_out[number]]
        dropped = iter(check.dropped(training))
        for (number, one), text in batch:
            if held_out[number]:
                validation.add(one.name, text)
            elif next(dropped):
                continue
            else:
                train.add(one.name, text, one.attributes.get(TIER, ""))
            used[number] = True
    near = _near_counts(data.deduplication.near, first, held_out, used, train.names, validation.names)
    return near.model_copy(update={"dropped": near_dropped}), check.counts()


def _of_tier(
    data: DataConfig,
    read: Callable[[], Iterable[Document]],
    kept: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    tiers: dict[str, TierCounts],
) -> Iterator[tuple[int, Document]]:
    """The documents that are kept, with their numbers; of the training documents, those of the study's tier.

    The tier is chosen last, so that every tier is measured on the same held-out documents.
    """
    left: Iterator[Document] = (
        Document(document.name, document.text, {**document.attributes, _NUMBER: str(number)})
        for number, document in enumerate(read())
        if kept[number]
    )
    if data.quality.scorer != "none":
        left = select_tier(left, data.quality, lambda one: bool(held_out[int(one.attributes[_NUMBER])]), tiers)
    return ((int(document.attributes[_NUMBER]), document) for document in left)


def _near_counts(
    mode: str,
    first: NDArray[np.int64],
    held_out: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    train_names: list[str],
    validation_names: list[str],
) -> NearCounts:
    training, measured = kept & ~held_out, kept & held_out
    trained = np.full(len(first), -1)
    """By the first document of a cluster, the number of a training document of it among them all."""
    trained[first[training]] = np.arange(len(train_names))
    partners = trained[first[measured]]
    affected = np.flatnonzero(partners >= 0)
    sizes = np.bincount(first, minlength=1)
    return NearCounts(
        mode=mode,
        clusters=int((sizes > 1).sum()),
        near_duplicates=int((sizes[sizes > 1] - 1).sum()),
        held_out_in_training=len(affected),
        examples=tuple((validation_names[place], train_names[partners[place]]) for place in affected[:NAMES]),
    )
