"""Contamination: n-grams of held-out documents and of items of tasks in the training documents.

A target is such a document or item. N-grams are of words as `shingles` has them. Those that more than ten targets
hold (licences, templates) say nothing of one and are left out; a target of nothing else cannot be checked.
Memory: up to 80 bytes for each n-gram of the targets, of which the first `MOST_NGRAMS` are all compared, and of more
one in 2, 4, 8, ... by its hash. Of a sample, less than `LEAST_HITS` n-grams make no document contaminated, and a
target that so many could not make a share of is not checked.
Shapes: N distinct n-grams of the targets, E entries (an n-gram of a target), F n-grams found in a batch of documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crossover.data.deduplication.shingles import Hashes, ngram_hashes, unit_hashes
from crossover.data.overlap_counts import HELD_OUT, NAMES, OverlapCounts
from crossover.study.near_config import ContaminationConfig

Indices = NDArray[np.int64]
NamedText = tuple[str, str]
Item = TypeVar("Item")

COMMON = 10
"""Targets that may share an n-gram before it is left out."""
MOST_NGRAMS = 1 << 23
"""N-grams of one kind of targets that are held in memory."""
LEAST_HITS = 3
"""N-grams of a sample that a contaminated document holds: one or two may be a phrase that the sample fell on."""
_BATCH = 1 << 18
"""Characters that are hashed at once; one document is never cut."""


def batches(items: Iterable[tuple[Item, str]]) -> Iterator[list[tuple[Item, str]]]:
    """Items, each with its text, in lists of bounded length in characters."""
    batch, characters = list[tuple[Item, str]](), 0
    for item in items:
        batch.append(item)
        characters += len(item[1])
        if characters >= _BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class Targets:
    """The n-grams of one kind of targets, and what the training documents hold of them.

    Args:
        kind: what the targets are; names the counts.
        texts: name and text of each target.
        size: words in an n-gram.
        overlap: the share of n-grams that makes a document contaminated.
    """

    def __init__(self, kind: str, texts: Iterable[NamedText], size: int, overlap: float) -> None:
        self._kind, self._size, self._overlap = kind, size, overlap
        self._names: list[str] = []
        self._short, self._sampled = 0, 1
        entries, owners = self._read(texts)
        ngrams, counts = np.unique(entries, return_counts=True)
        kept = counts <= COMMON
        self._common = int((~kept).sum())
        self._owners_E = owners[np.repeat(kept, counts)]
        self._ngrams_N = ngrams[kept]
        self._starts = np.concatenate([[0], np.cumsum(counts[kept])])
        self._lengths = np.bincount(self._owners_E, minlength=len(self._names))
        self._least = LEAST_HITS if self._sampled > 1 else 1
        self._compared = overlap * self._lengths > self._least - 1
        self._held_N = np.zeros(len(self._ngrams_N), dtype=np.bool_)
        self._bits = max(3, (8 * len(self._ngrams_N)).bit_length())
        self._filter = np.zeros(1 << self._bits, dtype=np.bool_)
        self._filter[self._slots(self._ngrams_N)] = True
        self._contaminated, self.dropped = 0, 0
        self._examples: list[NamedText] = []

    def _read(self, texts: Iterable[NamedText]) -> tuple[Hashes, NDArray[np.int32]]:
        """The distinct n-grams of each target, sorted, and the target that each is of. Shapes (E,)."""
        hashes, owners = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int32)]
        for batch in batches(texts):
            found, of_text = ngram_hashes(*unit_hashes([text for _, text in batch], "words"), self._size)
            self._short += len(batch) - len(np.unique(of_text))
            chosen = self._in_sample(found)
            hashes.append(found[chosen])
            owners.append((of_text[chosen] + len(self._names)).astype(np.int32))
            self._names += [name for name, _ in batch]
            while sum(map(len, hashes)) > MOST_NGRAMS:
                self._sampled *= 2
                picked = [self._in_sample(part) for part in hashes]
                hashes = [part[own] for part, own in zip(hashes, picked, strict=True)]
                owners = [part[own] for part, own in zip(owners, picked, strict=True)]
        entries_E, owners_E = np.concatenate(hashes), np.concatenate(owners)
        order = np.lexsort((owners_E, entries_E))
        entries_E, owners_E = entries_E[order], owners_E[order]
        new = (np.diff(entries_E, prepend=~entries_E[:1]) != 0) | (np.diff(owners_E, prepend=-1) != 0)
        return entries_E[new], owners_E[new]

    def _in_sample(self, ngrams: Hashes) -> NDArray[np.bool_]:
        """Which n-grams are compared: by their lowest bits, where `_slots` takes the highest."""
        chosen: NDArray[np.bool_] = (ngrams & np.uint64(self._sampled - 1)) == 0
        return chosen

    def find(self, ngrams: Hashes) -> tuple[Indices, Indices]:
        """Which n-grams of some documents are the targets'.

        Returns:
            Where they stand in what was given, and which they are along N. Shapes (F,).
        """
        places = np.flatnonzero(self._filter[self._slots(ngrams)])
        which = np.searchsorted(self._ngrams_N, ngrams[places])
        which[which == len(self._ngrams_N)] = 0
        found = self._ngrams_N[which] == ngrams[places] if len(self._ngrams_N) else np.zeros(0, dtype=np.bool_)
        return places[found], which[found]

    def contaminates(self, name: str, ngrams: int, found: Indices) -> bool:
        """Whether a training document is contaminated; it is counted and, among the first, listed.

        Args:
            name: of the document.
            ngrams: how many it has.
            found: those that are the targets', along N.
        """
        distinct = np.unique(found)
        owners, held = np.unique(self._owners_of(distinct), return_counts=True)
        share = np.where(self._compared[owners], held / self._lengths[owners], 0)
        its_own = len(distinct) >= self._least and self._sampled * len(found) >= self._overlap * ngrams
        if share.max() < self._overlap and not its_own:
            return False
        self._contaminated += 1
        if len(self._examples) < NAMES:
            self._examples.append((name, self._names[owners[share.argmax()]]))
        return True

    def hold(self, found: Indices) -> None:
        """Note what a training document that is kept holds."""
        self._held_N[found] = True

    def counts(self) -> OverlapCounts:
        """What was found."""
        held = np.flatnonzero(self._held_N)
        of_target = np.bincount(self._owners_of(held), minlength=len(self._lengths))
        return OverlapCounts(
            target=self._kind,
            ngram=self._size,
            texts=len(self._names),
            short_texts=self._short,
            unchecked_texts=int((~self._compared).sum()) - self._short,
            ngrams=len(self._ngrams_N),
            common_ngrams=self._common,
            sampled=self._sampled,
            ngrams_in_training=len(held),
            texts_in_training=int((self._compared & (of_target >= self._overlap * self._lengths)).sum()),
            contaminated=self._contaminated,
            dropped=self.dropped,
            examples=tuple(self._examples),
        )

    def _owners_of(self, which: Indices) -> NDArray[np.int32]:
        """The targets of some n-grams, one for each entry."""
        starts, counts = self._starts[which], self._starts[which + 1] - self._starts[which]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners: NDArray[np.int32] = self._owners_E[np.repeat(starts, counts) + within]
        return owners

    def _slots(self, ngrams: Hashes) -> Indices:
        return (ngrams >> np.uint64(64 - self._bits)).astype(np.int64)


class ContaminationCheck:
    """Looks for the n-grams of all targets in the training documents.

    Args:
        config: what is counted and dropped.
        held_out: names and texts of the held-out documents.
        tasks: the items of each task by its name: names and texts.
    """

    def __init__(
        self, config: ContaminationConfig, held_out: Iterable[NamedText], tasks: Mapping[str, Iterable[NamedText]]
    ) -> None:
        self._size = config.ngram
        kinds = {} if config.mode == "off" else {HELD_OUT: held_out, **tasks}
        self._targets = {kind: Targets(kind, texts, config.ngram, config.overlap) for kind, texts in kinds.items()}
        self._removing = {HELD_OUT, *config.tasks} if config.mode == "drop" else set()

    def dropped(self, documents: Sequence[NamedText]) -> list[bool]:
        """Count what a batch of training documents holds; which of them are to be left out."""
        if not self._targets or not documents:
            return [False] * len(documents)
        ngrams, owners = ngram_hashes(*unit_hashes([text for _, text in documents], "words"), self._size)
        lengths = np.bincount(owners, minlength=len(documents))
        found: dict[int, dict[str, Indices]] = {}
        for kind, targets in self._targets.items():
            places, which = targets.find(ngrams)
            of_document, starts = np.unique(owners[places], return_index=True)
            for document, part in zip(of_document.tolist(), np.split(which, starts[1:]), strict=False):
                found.setdefault(document, {})[kind] = part
        drop = [False] * len(documents)
        for document in sorted(found):
            drop[document] = self._drops(documents[document][0], int(lengths[document]), found[document])
        return drop

    def _drops(self, name: str, ngrams: int, found: Mapping[str, Indices]) -> bool:
        dirty = {kind for kind, which in found.items() if self._targets[kind].contaminates(name, ngrams, which)}
        for kind in dirty & self._removing:
            self._targets[kind].dropped += 1
        if dirty & self._removing:
            return True
        for kind, which in found.items():
            self._targets[kind].hold(which)
        return False

    def counts(self) -> tuple[OverlapCounts, ...]:
        """What was found, for each kind of targets."""
        return tuple(targets.counts() for targets in self._targets.values())
