"""What was counted while sources were read, as it is counted and as a manifest keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from crossover.data.cleaning.cleaning_counts import CleaningCounts
from crossover.data.sources.bad_documents import SkippedDocuments


@dataclass
class PartCounts:
    """Of one source of a corpus."""

    source: str
    share: float | None = None
    """Of the text, as asked for; None outside of a mixture."""
    documents: int = 0
    bytes: int = 0
    """Of their text as the source has it, UTF-8."""
    bytes_read: int = 0
    """Of the files as they are stored."""
    ended: bool = False
    """Whether it was read to its end."""
    languages: Counter[str] = field(default_factory=Counter)
    """Files by language, of source trees."""
    licences: list[str] = field(default_factory=list)
    """Licence files with what they look like, or what a hub tells."""


@dataclass
class SourceCounts:
    """Of all sources of a corpus."""

    files: int = 0
    empty: int = 0
    duplicates: int = 0
    skipped: SkippedDocuments = field(default_factory=SkippedDocuments)
    parts: list[PartCounts] = field(default_factory=list)
    cleaning: CleaningCounts = field(default_factory=CleaningCounts)

    @property
    def undecodable(self) -> int:
        """Skipped documents that are not UTF-8."""
        return self.skipped.counts["not UTF-8"]

    @property
    def bytes_read(self) -> int:
        """Bytes read of the files as they are stored."""
        return sum(part.bytes_read for part in self.parts)


class SourcePart(BaseModel):
    """`PartCounts` in a manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    share: float | None
    documents: int
    bytes: int
    ended: bool
    languages: dict[str, int]
    licences: tuple[str, ...]


class SourceReport(BaseModel):
    """What a dataset's manifest says of its sources; before any document was left out as a duplicate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: tuple[SourcePart, ...] = ()
    skipped: dict[str, int] = {}
    """Bad documents by fault."""
    places: dict[str, tuple[str, ...]] = {}
    """The first few of each."""

    @classmethod
    def of(cls, counts: SourceCounts) -> SourceReport:
        """The report of what was counted."""
        parts = (
            SourcePart(
                source=part.source,
                share=part.share,
                documents=part.documents,
                bytes=part.bytes,
                ended=part.ended,
                languages=dict(sorted(part.languages.items())),
                licences=tuple(part.licences),
            )
            for part in counts.parts
        )
        return cls(
            parts=tuple(parts),
            skipped=dict(sorted(counts.skipped.counts.items())),
            places={fault: tuple(places) for fault, places in sorted(counts.skipped.places.items())},
        )

    def lines(self) -> Iterator[str]:
        """For people: each source of a mixture, and what was skipped, with where it was."""
        total = sum(part.bytes for part in self.parts)
        for part in self.parts if len(self.parts) > 1 else ():
            end = ", read to its end" if part.ended else ""
            share = f"{part.bytes / max(1, total):.2%} of the text"
            yield f"{part.source}: {part.documents:,} documents, {part.bytes:,} bytes, {share}{end}"
        for fault, count in self.skipped.items():
            places = self.places.get(fault, ())
            more = " …" if count > len(places) else ""
            yield f"bad documents skipped ({fault}): {count:,}, at {'; '.join(places)}{more}"
