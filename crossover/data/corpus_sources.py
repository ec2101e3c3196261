"""Sources of documents: the standard library, text files, JSON lines. They are streamed, never held in memory."""

from __future__ import annotations

import glob
import gzip
import json
import lzma
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from crossover.data.cleaning.cleaning_counts import CleaningCounts
from crossover.data.cleaning.normalisation import normalise
from crossover.errors import DataError
from crossover.study.data_config import DataConfig

_STDLIB_LEFT_OUT = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "lib2to3",
    "encodings",
}


PackedFile = BinaryIO | gzip.GzipFile | lzma.LZMAFile


def _unchanged(text: str, _: DataConfig) -> str:
    return text


class Reader(NamedTuple):
    """How the documents of one kind of source are read: files, encoded documents in a file, text in a document."""

    files: Callable[[str], list[tuple[Path, str]]]
    """Files of a place (what follows the scheme) in a fixed order, each with the name of its documents."""
    documents: Callable[[PackedFile, DataConfig], Iterator[tuple[str, bytes]]]
    """Documents of one file, each UTF-8 on its own: what is added to the file's name, and the bytes."""
    text: Callable[[str, DataConfig], str] = _unchanged
    """The text in a decoded document; a ValueError says what is wrong with it."""


@dataclass
class SourceCounts:
    """Counts of files, of skipped documents, and of bytes read of the files as they are stored."""

    files: int = 0
    undecodable: int = 0
    empty: int = 0
    duplicates: int = 0
    bytes_read: int = 0
    cleaning: CleaningCounts = field(default_factory=CleaningCounts)


def documents(config: DataConfig, counts: SourceCounts) -> Iterator[tuple[str, str]]:
    """Documents of a corpus in a fixed order.

    Args:
        config: the source.
        counts: updated while the documents are read.

    Yields:
        Name and normalised text of each document that is not empty.

    Raises:
        DataError: the source has no file, a file cannot be read, or a document is malformed or not UTF-8.
    """
    scheme, _, place = config.source.partition(":")
    reader = READERS[scheme]
    for path, name in reader.files(place):
        counts.files += 1
        try:
            for inner, encoded in _documents_of(path, reader, config, counts):
                text = _text_of(encoded, f"{path}{inner}", reader, config)
                if text is None:
                    counts.undecodable += 1
                elif normalised := normalise(text):
                    yield f"{name}{inner}", normalised
                else:
                    counts.empty += 1
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise DataError(
                "data.unreadable",
                field="data.source",
                problem=f"{path} cannot be read ({error})",
                remedy="check the file and its permissions",
            ) from error


def _text_of(encoded: bytes, place: str, reader: Reader, config: DataConfig) -> str | None:
    """The text of one document; None if it is not UTF-8 and the study skips such documents."""
    try:
        return reader.text(encoded.decode("utf-8-sig"), config)
    except UnicodeDecodeError as error:
        if config.undecodable == "skip":
            return None
        raise DataError(
            "data.undecodable",
            field="data.source",
            problem=f"{place} is not UTF-8 (byte {error.start})",
            remedy="convert the file, or set data.undecodable to skip",
        ) from error
    except ValueError as error:
        raise DataError(
            "data.bad-json-line",
            field="data.text_field",
            problem=f"{place} {error}",
            remedy="correct the line, or set data.text_field to a field that holds text",
        ) from error


def _standard_library(_: str) -> list[tuple[Path, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    files = [
        (path, path.relative_to(root).as_posix())
        for path in root.rglob("*.py")
        if not _STDLIB_LEFT_OUT.intersection(path.relative_to(root).parts)
    ]
    return sorted(files, key=lambda pair: pair[1])


def matching_files(pattern: str) -> list[tuple[Path, str]]:
    """Files that match a glob pattern, sorted, each with the name of its documents.

    Raises:
        DataError: none does.
    """
    files = [Path(p) for p in sorted(glob.glob(pattern, recursive=True)) if Path(p).is_file()]
    if not files:
        raise DataError(
            "data.missing",
            field="data.source",
            problem=f"{pattern!r} matches no file",
            remedy="check the path; relative paths are relative to the current folder",
        )
    return [(path, path.as_posix()) for path in files]


def source_bytes(config: DataConfig) -> int:
    """Bytes of all files of a source as they are stored.

    Raises:
        DataError: the source has no file.
    """
    scheme, _, place = config.source.partition(":")
    return sum(path.stat().st_size for path, _ in READERS[scheme].files(place))


def unpacked(path: Path, stored: BinaryIO) -> PackedFile:
    """A file's bytes, decompressed where its name ends with `.gz` or `.xz`."""
    if path.suffix == ".gz":
        return gzip.open(stored, "rb")
    if path.suffix == ".xz":
        return lzma.open(stored, "rb")
    return stored


def _documents_of(path: Path, reader: Reader, config: DataConfig, counts: SourceCounts) -> Iterator[tuple[str, bytes]]:
    before = counts.bytes_read
    with path.open("rb") as stored, unpacked(path, stored) as file:
        for document in reader.documents(file, config):
            counts.bytes_read = before + stored.tell()
            yield document
    counts.bytes_read = before + path.stat().st_size


def _plain_text(file: PackedFile, config: DataConfig) -> Iterator[tuple[str, bytes]]:
    if config.separator:
        yield from _separated(file, config.separator)
    else:
        yield "", file.read()


def _lines(file: PackedFile, _: DataConfig) -> Iterator[tuple[str, bytes]]:
    return ((f":{number}", line) for number, line in enumerate(file, start=1) if line.strip())


def _json_text(line: str, config: DataConfig) -> str:
    try:
        text = json.loads(line)[config.text_field]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"is not a JSON object with the field {config.text_field!r}") from error
    if not isinstance(text, str):
        raise ValueError(f"has {config.text_field!r}, which is not text")
    return text


def _separated(file: PackedFile, separator: str) -> Iterator[tuple[str, bytes]]:
    delimiter, rest, number = separator.encode(), b"", 0
    while chunk := file.read(1 << 20):
        *pieces, rest = (rest + chunk).split(delimiter)
        for piece in pieces:
            number += 1
            yield f"#{number}", piece
    yield f"#{number + 1}", rest


READERS: dict[str, Reader] = {
    "stdlib": Reader(_standard_library, _plain_text),
    "text": Reader(matching_files, _plain_text),
    "jsonl": Reader(matching_files, _lines, _json_text),
}
"""By scheme; `study_parts.SOURCES` names the schemes that a study may use."""
