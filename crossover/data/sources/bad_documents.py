"""Documents that cannot be read as text: what is wrong with each, and what has been skipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from crossover.errors import DataError

Fault = Literal[
    "not UTF-8", "half a character", "malformed", "too deep", "no text", "no score", "too long", "unreadable"
]
PLACES_SHOWN = 5


class BadDocument(NamedTuple):
    """What stands in a source in a document's place."""

    fault: Fault
    problem: str
    """What is wrong, after the name of the place: `is not UTF-8 (byte 3)`."""


_MARKS = (b"\xff\xfe", b"\xfe\xff")
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), "null"),
    (bool, "true or false"),
    ((int, float), "a number"),
    ((list, tuple), "a list"),
    (dict, "an object: name a field within it, as a.b"),
)


def not_utf8(error: UnicodeDecodeError, of: str = "") -> BadDocument:
    """What is wrong with bytes that cannot be decoded; UTF-16 and UTF-32 are told by their byte order marks."""
    marked = error.start == 0 and error.object[:2] in _MARKS
    hint = "; it begins like UTF-16 or UTF-32" if marked else ""
    return BadDocument("not UTF-8", f"is not UTF-8 (byte {error.start}{of}{hint})")


def not_text(field: str, value: object) -> BadDocument:
    """What is wrong with a field that holds something else."""
    kind = next((words for types, words in _KINDS if isinstance(value, types)), "not text")
    return BadDocument("no text", f"has {field!r}, which is {kind}")


@dataclass
class SkippedDocuments:
    """How many bad documents were skipped, and the first few places of each kind of fault."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: str, bad: BadDocument) -> None:
        """Count one."""
        self.counts[bad.fault] += 1
        shown = self.places.setdefault(bad.fault, [])
        if len(shown) < PLACES_SHOWN:
            shown.append(f"{place} {bad.problem}")


def bad_document_error(problem: str, fault: str) -> DataError:
    """The error of a bad document where the study refuses them.

    Args:
        problem: its place, and what is wrong with it.
        fault: of `Fault`.
    """
    if fault in ("not UTF-8", "half a character"):
        return DataError(
            "data.undecodable",
            field="data.source",
            problem=problem,
            remedy="convert or correct it, or set data.bad_documents to skip",
        )
    if fault == "too long":
        return DataError(
            "data.document-too-long",
            field="data.longest_document",
            problem=problem,
            remedy="cut it with data.separator, raise data.longest_document, or set data.bad_documents to skip",
        )
    if fault == "unreadable":
        return DataError(
            "data.unreadable",
            field="data.source",
            problem=problem,
            remedy="get or pack the file again, or set data.bad_documents to skip",
        )
    if fault == "no text":
        return DataError(
            "data.no-text",
            field="data.text_field",
            problem=problem,
            remedy="name a field that holds text in every document, or set data.bad_documents to skip",
        )
    if fault == "no score":
        return DataError(
            "data.no-score",
            field="data.quality.column",
            problem=problem,
            remedy="name a column that holds a number for every document, or set data.bad_documents to skip",
        )
    return DataError(
        "data.bad-json-line",
        field="data.source",
        problem=problem,
        remedy="correct the line, or set data.bad_documents to skip",
    )


def changed_error(what: str) -> DataError:
    """The error of files that change while they are read.

    Args:
        what: the file, or some file of a source.
    """
    return DataError(
        "data.changed",
        field="data.source",
        problem=f"{what} was changed while it was read",
        remedy="let its writer finish, and run again",
    )
