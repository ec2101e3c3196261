"""The domain cloze task, made from the corpus itself: which of four continuations is the true one?

Every option has the same number of tokens; the three distractors are continuations cut from other held-out documents.
Deterministic; the true option stands equally often in each of the four places. The cluster of an item is its document.
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
    """One question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    cluster: str
    """Name of the document the context comes from."""
    context: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    """Four continuations of equal length, in tokens."""
    gold: int
    """Index of the true one."""


class HeldOut:
    """The held-out documents end to end, and where an item may be cut from them.

    Args:
        tokens: all documents, each closed by EOS.
        names: one per document.
        lengths: tokens of each document, EOS included.
        sequence_length: context and option together; the last quarter is the option.
    """

    def __init__(self, tokens: NDArray[np.uint16], names: list[str], lengths: list[int], sequence_length: int) -> None:
        self.tokens, self.names, self.length = tokens, names, sequence_length
        self.option_length = max(2, sequence_length // 4)
        self.starts = np.cumsum(lengths) - np.asarray(lengths)
        self.rooms = np.asarray(lengths) - 1 - sequence_length
        self.usable = np.flatnonzero(self.rooms >= 0)

    def cut(self, document: int, offset: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Context and continuation at a place."""
        begin = int(self.starts[document]) + offset
        row = self.tokens[begin : begin + self.length].tolist()
        return tuple(row[: -self.option_length]), tuple(row[-self.option_length :])

    def distractors(self, document: int, truth: tuple[int, ...], draw: np.random.Generator) -> list[tuple[int, ...]]:
        """Three continuations from three other documents, all different and none the truth.

        Raises:
            DataError: the documents are too alike.
        """
        found: list[tuple[int, ...]] = []
        for other in draw.permutation(self.usable[self.usable != document]):
            _, candidate = self.cut(int(other), int(draw.integers(0, self.rooms[other] + 1)))
            if candidate != truth and candidate not in found:
                found.append(candidate)
            if len(found) == OPTIONS - 1:
                return found
        raise DataError(
            "data.cloze-not-distinct",
            field="evaluation.tasks",
            problem="domain-cloze cannot find three distinct distractors: the held-out documents are alike",
            remedy="give more varied documents or drop domain-cloze",
        )


def build_items(held_out: HeldOut, wanted: int) -> list[ClozeItem]:
    """Make up to `wanted` items (a multiple of four) from held-out documents, as evenly over documents as they allow.

    Args:
        held_out: the documents.
        wanted: how many; fewer come when the documents do not have that many distinct places.

    Raises:
        DataError: fewer than four held-out documents are long enough.
    """
    usable = held_out.usable
    if len(usable) < OPTIONS:
        raise DataError(
            "data.too-few-cloze-documents",
            field="evaluation.tasks",
            problem=f"domain-cloze needs {OPTIONS} held-out documents longer than {held_out.length} tokens, "
            f"found {len(usable)}",
            remedy="give more documents, raise data.validation_fraction, or drop domain-cloze",
        )
    draw = generator(0, Stream.TASKS)
    places = dict.fromkeys(
        (int(document), int(offset))
        for _ in range(-(-wanted // len(usable)))
        for document, offset in zip(usable, draw.integers(0, held_out.rooms[usable] + 1), strict=True)
    )
    chosen = [list(places)[i] for i in draw.permutation(len(places))][: min(wanted, len(places)) // OPTIONS * OPTIONS]
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
    """Write the task file atomically."""
    write_json(path, _ITEMS.dump_python(items, mode="json"))


def read_items(path: Path) -> list[ClozeItem]:
    """Read a task file that `write_items` wrote."""
    return _ITEMS.validate_python(read_json(path))
