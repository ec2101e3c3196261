"""Contamination: n-grams of held-out documents and of items of tasks in the training documents.

A target is such a document or item. N-grams are of words without case and punctuation. Those that more than ten targets
hold (licences, templates) say nothing of one and are left out. Memory: 30 to 45 bytes for each n-gram of the targets,
whatever the size of the training documents.
Shapes: N distinct n-grams of the targets, T targets, E entries (an n-gram of a target).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from crossover.data.deduplication.shingles import Hashes, ngram_hashes, unit_hashes
from crossover.data.overlap_counts import HELD_OUT, NAMES, OverlapCounts
from crossover.study.near_config import ContaminationConfig

Indices = NDArray[np.int64]
COMMON = 10
"""Targets that may share an n-gram before it is left out."""


def text_ngrams(text: str, size: int) -> Hashes:
    """The distinct n-grams of a text, sorted; none if it has fewer words."""
    return np.unique(ngram_hashes(*unit_hashes([text], "words"), size)[0])


class Targets:
    """The n-grams of one kind of targets, and what the training documents hold of them.

    Args:
        kind: what the targets are; names the counts.
        texts: name and text of each target.
        size: words in an n-gram.
        overlap: the share of n-grams that makes a document contaminated.
    """

    def __init__(self, kind: str, texts: Iterable[tuple[str, str]], size: int, overlap: float) -> None:
        self._kind, self._size, self._overlap = kind, size, overlap
        self._names: list[str] = []
        parts: list[Hashes] = []
        for name, text in texts:
            self._names.append(name)
            parts.append(text_ngrams(text, size))
        lengths = np.array([len(part) for part in parts], dtype=np.int64)
        self._short = int((lengths == 0).sum())
        entries = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
        parts.clear()
        order = np.argsort(entries, kind="stable")
        entries, owners_E = entries[order], np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
        ngrams, counts = np.unique(entries, return_counts=True)
        kept = counts <= COMMON
        self._common = int((~kept).sum())
        self._owners_E = owners_E[np.repeat(kept, counts)]
        self._ngrams_N = ngrams[kept]
        self._starts = np.concatenate([[0], np.cumsum(counts[kept])])
        self._lengths_T = np.bincount(self._owners_E, minlength=len(lengths))
        self._held_N = np.zeros(len(self._ngrams_N), dtype=np.bool_)
        self._bits = max(3, (8 * len(self._ngrams_N)).bit_length())
        self._filter = np.zeros(1 << self._bits, dtype=np.bool_)
        self._filter[self._slots(self._ngrams_N)] = True
        self._contaminated = self.dropped = 0
        self._examples: list[tuple[str, str]] = []

    def find(self, ngrams: Hashes) -> Indices:
        """Which n-grams of the targets are among those of a document; indices along N."""
        maybe = ngrams[self._filter[self._slots(ngrams)]]
        places = np.searchsorted(self._ngrams_N, maybe)
        places = places[places < len(self._ngrams_N)]
        found: Indices = places[self._ngrams_N[places] == maybe[: len(places)]]
        return found

    def contaminates(self, name: str, ngrams: int, found: Indices) -> bool:
        """Whether a training document is contaminated; it is counted and, among the first, listed.

        Args:
            name: of the document.
            ngrams: its distinct n-grams.
            found: which of the targets' are among them.
        """
        if not len(found):
            return False
        owners, held = np.unique(self._owners_of(found), return_counts=True)
        share = held / self._lengths_T[owners]
        if share.max() < self._overlap and len(found) < self._overlap * ngrams:
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
        of_target = np.bincount(self._owners_of(held), minlength=len(self._lengths_T))
        compared = self._lengths_T > 0
        return OverlapCounts(
            target=self._kind,
            ngram=self._size,
            texts=len(self._names),
            short_texts=self._short,
            ngrams=len(self._ngrams_N),
            common_ngrams=self._common,
            ngrams_in_training=len(held),
            texts_in_training=int((of_target[compared] >= self._overlap * self._lengths_T[compared]).sum()),
            contaminated=self._contaminated,
            dropped=self.dropped,
            examples=tuple(self._examples),
        )

    def _owners_of(self, places: Indices) -> NDArray[np.int32]:
        """The targets of some n-grams, one for each entry."""
        starts, counts = self._starts[places], self._starts[places + 1] - self._starts[places]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._owners_E[np.repeat(starts, counts) + within]

    def _slots(self, ngrams: Hashes) -> Indices:
        return (ngrams >> np.uint64(64 - self._bits)).astype(np.int64)


class ContaminationCheck:
    """Looks for the n-grams of all targets in the training documents, one after the other.

    Args:
        config: what is counted and dropped.
        held_out: names and texts of the held-out documents.
        tasks: the items of each task by its name: names and texts.
    """

    def __init__(
        self, config: ContaminationConfig, held_out: Iterable[tuple[str, str]], tasks: Mapping[str, Iterable[tuple[str, str]]]
    ) -> None:
        self._size = config.ngram
        kinds = {} if config.mode == "off" else {HELD_OUT: held_out, **tasks}
        self._targets = {kind: Targets(kind, texts, config.ngram, config.overlap) for kind, texts in kinds.items()}
        self._removing = {HELD_OUT, *config.tasks} if config.mode == "drop" else set()

    def drops(self, name: str, text: str) -> bool:
        """Count what a training document holds; whether it is to be left out."""
        if not self._targets:
            return False
        ngrams = text_ngrams(text, self._size)
        found = {kind: targets.find(ngrams) for kind, targets in self._targets.items()}
        for_kinds = {
            kind for kind, targets in self._targets.items() if targets.contaminates(name, len(ngrams), found[kind])
        } & self._removing
        for kind, targets in self._targets.items():
            if not for_kinds:
                targets.hold(found[kind])
            elif kind in for_kinds:
                targets.dropped += 1
        return bool(for_kinds)

    def counts(self) -> tuple[OverlapCounts, ...]:
        """What was found, for each kind of targets."""
        return tuple(targets.counts() for targets in self._targets.values())
