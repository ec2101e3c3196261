"""What each step of the cleaning took in, gave out, left out and replaced; part of a dataset's manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Histogram:
    """Counts of values by powers of two: bin b has the values of b bits, 2^(b-1) to 2^b - 1."""

    bins: list[int] = field(default_factory=list)

    def add(self, value: int) -> None:
        """Count a value, not negative."""
        bits = value.bit_length()
        self.bins += [0] * (bits + 1 - len(self.bins))
        self.bins[bits] += 1

    @classmethod
    def of(cls, values: Iterable[int]) -> Histogram:
        """Of all values."""
        histogram = cls()
        for value in values:
            histogram.add(value)
        return histogram

    @property
    def total(self) -> int:
        """Values."""
        return sum(self.bins)


@dataclass(slots=True)
class StepCounts:
    """Of one step; bytes are those of the text in UTF-8."""

    name: str
    documents_in: int = 0
    documents_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason to documents."""
    replaced: dict[str, int] = field(default_factory=dict)
    """Kind to places in the text."""

    def drop(self, reason: str) -> None:
        """Count a document that is left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def replace(self, kind: str, places: int) -> None:
        """Count places of the text that were changed."""
        if places:
            self.replaced[kind] = self.replaced.get(kind, 0) + places


@dataclass(slots=True)
class RepeatCounts:
    """Of paragraphs or lines that stood before."""

    units: int = 0
    """Paragraphs or lines long enough to count."""
    units_dropped: int = 0
    bytes_dropped: int = 0
    documents_emptied: int = 0


@dataclass(slots=True)
class TierCounts:
    """Of the training documents of one tier."""

    documents: int = 0
    bytes: int = 0
    lowest: float = 0.0
    """Score: bits per byte under a model, or the number in the column."""
    highest: float = 0.0


@dataclass(slots=True)
class CleaningCounts:
    """Of all steps, in their order."""

    steps: list[StepCounts] = field(default_factory=list)
    languages: dict[str, int] = field(default_factory=dict)
    """Language to documents, before those of other languages are left out."""
    repeats: RepeatCounts = field(default_factory=RepeatCounts)
    tiers: dict[str, TierCounts] = field(default_factory=dict)
    bytes_read: Histogram = field(default_factory=Histogram)
    """Bytes of documents as they came."""
    bytes_kept: Histogram = field(default_factory=Histogram)
    """Bytes of documents that are left, after exact deduplication."""
