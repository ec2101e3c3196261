"""The domain cloze task, built from the held-out documents: which of four continuations is the true one?

All options have the same number of tokens; the three distractors are cut from other held-out documents. Deterministic;
the true option is equally often at each of the four indices. The cluster of an item is its document.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter

from crossover.counter_rng import Stream, generator
from crossover.errors import DataError
from crossover.files import read_json, write_json

OPTIONS = 4


class ClozeItem(BaseModel):
    """One item of the task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    cluster: str
    """Name of the document that the context is from."""
    context: tuple[int, ...]
    """Token ids."""
    options: tuple[tuple[int, ...], ...]
    """Token ids of four continuations of equal length."""
    gold: int
    """Index of the true continuation."""


class HeldOut:
    """The concatenated held-out documents, and the offsets at which items can be cut.

    Args:
        tokens: token ids of all documents, each ended by EOS.
        names: of the documents.
        lengths: tokens of each document, including EOS.
        sequence_length: tokens of context and option; the option is the last quarter.
    """

    def __init__(
        self, tokens: NDArray[np.unsignedinteger], names: list[str], lengths: list[int], sequence_length: int
    ) -> None:
        self.tokens, self.names, self.length = tokens, names, sequence_length
        self.option_length = max(2, sequence_length // 4)
        self.starts = np.cumsum(lengths) - np.asarray(lengths)
        self.last_offsets = np.asarray(lengths) - 1 - sequence_length
        self.usable = np.flatnonzero(self.last_offsets >= 0)

    def cut(self, document: int, offset: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Context and continuation at an offset within a document."""
        begin = int(self.starts[document]) + offset
        row = self.tokens[begin : begin + self.length].tolist()
        return tuple(row[: -self.option_length]), tuple(row[-self.option_length :])

    def distractors(self, document: int, truth: tuple[int, ...], draw: np.random.Generator) -> list[tuple[int, ...]]:
        """Three distinct continuations from three other documents, none of them the truth.

        Raises:
            DataError: the documents are too similar.
        """
        distractors: list[tuple[int, ...]] = []
        for other in draw.permutation(self.usable[self.usable != document]):
            _, candidate = self.cut(int(other), int(draw.integers(0, self.last_offsets[other] + 1)))
            if candidate != truth and candidate not in distractors:
                distractors.append(candidate)
            if len(distractors) == OPTIONS - 1:
                return distractors
        raise DataError(
            "data.cloze-not-distinct",
            field="evaluation.tasks",
            problem="domain-cloze needs three distinct distractors, and the held-out documents are too similar",
            remedy="add more varied documents or drop domain-cloze",
        )


def build_items(held_out: HeldOut, count: int) -> list[ClozeItem]:
    """Build items from held-out documents, spread as evenly over the documents as possible.

    Args:
        held_out: the documents.
        count: number of items, a multiple of four; fewer if the documents have too few distinct offsets.

    Raises:
        DataError: fewer than four held-out documents are long enough.
    """
    usable = held_out.usable
    if len(usable) < OPTIONS:
        raise DataError(
            "data.too-few-cloze-documents",
            field="evaluation.tasks",
            problem=f"domain-cloze needs {OPTIONS} held-out documents longer than {held_out.length} tokens, "
            f"and there are {len(usable)}",
            remedy="add documents, raise data.validation_fraction, or drop domain-cloze",
        )
    draw = generator(0, Stream.TASKS)
    offsets = dict.fromkeys(
        (int(document), int(offset))
        for _ in range(-(-count // len(usable)))
        for document, offset in zip(usable, draw.integers(0, held_out.last_offsets[usable] + 1), strict=True)
    )
    chosen = [list(offsets)[i] for i in draw.permutation(len(offsets))][: min(count, len(offsets)) // OPTIONS * OPTIONS]
    golds = draw.permutation(np.tile(np.arange(OPTIONS), len(chosen) // OPTIONS))
    items = []
    for number, ((document, offset), gold) in enumerate(zip(chosen, golds, strict=True)):
        context, truth = held_out.cut(document, offset)
        options = held_out.distractors(document, truth, draw)
        options.insert(int(gold), truth)
        cluster = held_out.names[document]
        items.append(
            ClozeItem(
                id=f"cloze-{number:05d}", cluster=cluster, context=context, options=tuple(options), gold=int(gold)
            )
        )
    return items


_ITEMS = TypeAdapter(list[ClozeItem])


def write_items(path: Path, items: list[ClozeItem]) -> None:
    """Write items to a file atomically."""
    write_json(path, _ITEMS.dump_python(items, mode="json"))


def read_items(path: Path) -> list[ClozeItem]:
    """Read the items that `write_items` wrote."""
    return _ITEMS.validate_python(read_json(path))
