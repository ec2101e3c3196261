"""The documents of a corpus, of one source or of a mixture; streamed, never held in memory."""

from __future__ import annotations

import lzma
import sysconfig
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from crossover.data.cleaning.normalisation import normalise
from crossover.data.document_spool import NO_ATTRIBUTES, SCORE, Document
from crossover.data.sources.bad_documents import BadDocument, bad_document_error, changed_error, not_utf8
from crossover.data.sources.column_documents import arrow_rows, parquet_rows
from crossover.data.sources.hub_datasets import HubReader
from crossover.data.sources.packed_files import unpacked
from crossover.data.sources.source_counts import PartCounts, SourceCounts
from crossover.data.sources.source_files import LocalFile, SourceFile, matching_files
from crossover.data.sources.source_roots import source_root
from crossover.data.sources.source_trees import note_tree_file
from crossover.data.sources.text_documents import Piece, Scored, json_lines, plain_text, too_long
from crossover.errors import DataError, first_line
from crossover.storage.s3_transfer import ChangedError
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
Sized = TypeVar("Sized", bound=tuple[Any, ...])


class Reader(Protocol):
    """How the documents of one kind of source are read."""

    def listing(self, place: str) -> Sequence[SourceFile] | None:
        """The files of a place (what follows the scheme) in a fixed order; None for what is not files."""

    def pieces(
        self, config: DataConfig, counts: SourceCounts, part: PartCounts, files: Sequence[SourceFile] | None
    ) -> Iterator[tuple[str, str, Piece]]:
        """The name, the place for messages, and what stands there, of each document; counts what it reads.

        `files` are those to read; None means all.
        """


@dataclass(frozen=True)
class FileReader:
    """A kind of source that is files.

    Args:
        files: of a place, in a fixed order.
        documents: of an unpacked file: what is added to the file's name, and the document (`Piece`).
        note: counts what a file is below the root of its source, and says whether it holds documents.
    """

    files: Callable[[str], list[SourceFile]]
    documents: Callable[[BinaryIO, DataConfig], Iterator[tuple[str, Piece]]]
    note: Callable[[SourceFile, str, PartCounts], bool] = lambda file, root, part: True

    def listing(self, place: str) -> Sequence[SourceFile]:
        """All files.

        Raises:
            DataError: there is none.
        """
        return self.files(place)

    def pieces(
        self, config: DataConfig, counts: SourceCounts, part: PartCounts, files: Sequence[SourceFile] | None
    ) -> Iterator[tuple[str, str, Piece]]:
        """The documents of files, by default of all; of one that is torn, those before the tear, and that it is.

        Raises:
            DataError: there is no file, the system cannot read one, or one changes while it is read.
        """
        root = source_root(config.source)
        for file in self.files(config.source.partition(":")[2]) if files is None else files:
            try:
                if not self.note(file, root, part):
                    continue
                counts.files += 1
                for inner, piece in self._of_file(file, config, part):
                    yield f"{file.name}{inner}", f"{file.place}{inner}", piece
                if file.changed():
                    raise ChangedError(file.place)
            except ChangedError as error:
                raise changed_error(file.place) from error
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise _unreadable(file, error) from error
                reason = first_line(error)
                yield file.name, file.place, BadDocument("unreadable", f"cannot be read ({reason})")

    def _of_file(self, file: SourceFile, config: DataConfig, part: PartCounts) -> Iterator[tuple[str, Piece]]:
        before = part.bytes_read
        with file.open() as stored, closing(unpacked(file.name, stored)) as content:
            for document in self.documents(content, config):
                if not stored.closed:
                    part.bytes_read = before + stored.tell()
                yield document
        part.bytes_read = before + file.size


def documents(
    config: DataConfig, counts: SourceCounts, files: Sequence[Sequence[SourceFile] | None] = ()
) -> Iterator[Document]:
    """Documents of a corpus in a fixed order.

    Args:
        config: the source, or the mixture.
        counts: updated while the documents are read.
        files: of each source, those to read; None, and by default, all.

    Yields:
        Each document that is not empty, its text normalised, with the attribute `quality` where scores are read.

    Raises:
        DataError: the source has no file, a file cannot be read, or a document is bad and the study refuses those.
        StorageError: a bucket cannot be read.
    """
    parts = part_counts(config)
    counts.parts += parts
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(part_texts(source, counts, part, chosen)))
            for source, part, chosen in zip(config.parts, parts, files or [None] * len(parts), strict=True)
        ]
        for document, _ in mixed(streams, parts):
            yield document


def part_counts(config: DataConfig) -> list[PartCounts]:
    """Counts of each source of a corpus, before it is read."""
    return [PartCounts(part.source, part.share) for part in config.sources] or [PartCounts(config.source)]


def mixed(streams: Sequence[Iterator[Sized]], parts: Sequence[PartCounts]) -> Iterator[Sized]:
    """Items of several sources, the next always of the one that is furthest behind its share of the bytes.

    Hence the shares hold in every prefix, up to an item. The mixture ends where the next source has ended.

    Args:
        streams: of each source, items whose last value is their bytes.
        parts: with the shares; the source that has ended is marked. A single source needs no share.
    """
    given = [0] * len(parts)
    while True:
        behind = min(range(len(parts)), key=lambda n: (given[n] / (parts[n].share or 1), n))
        item = next(streams[behind], None)
        if item is None:
            parts[behind].ended = True
            return
        given[behind] += item[-1]
        yield item


def part_texts(
    config: DataConfig, counts: SourceCounts, part: PartCounts, files: Sequence[SourceFile] | None = None
) -> Generator[tuple[Document, int], None, None]:
    """Each document of one source that is not empty, its text normalised, and its bytes before that."""
    for name, place, piece in READERS[config.source.partition(":")[0]].pieces(config, counts, part, files):
        checked = _checked(piece, config)
        if isinstance(checked, BadDocument):
            if config.bad_documents == "refuse":
                raise bad_document_error(f"{place} {checked.problem}", checked.fault)
            counts.skipped.add(place, checked)
            continue
        text, size = normalise(checked[0]), checked[1]
        if not text:
            counts.empty += 1
            continue
        part.documents += 1
        part.bytes += size
        attributes = {SCORE: repr(piece.score)} if isinstance(piece, Scored) else NO_ATTRIBUTES
        yield Document(name, text, attributes), size


def _checked(piece: Piece, config: DataConfig) -> tuple[str, int] | BadDocument:
    """A document's text and its bytes in UTF-8, or what is wrong with it."""
    if isinstance(piece, BadDocument):
        return piece
    if isinstance(piece, Scored):
        return _checked(piece.text, config)
    try:
        text, size = (piece, len(piece.encode())) if isinstance(piece, str) else (piece.decode("utf-8-sig"), len(piece))
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        return BadDocument("half a character", f"has {half}, half of a character (position {error.start})")
    except UnicodeDecodeError as error:
        return not_utf8(error)
    return too_long(config) if size > config.longest_document else (text, size)


def source_bytes(config: DataConfig) -> int:
    """Bytes of all files of a corpus as they are stored; those of a hub's datasets are not known, and 0.

    Raises:
        DataError: a source has no file.
        StorageError: a bucket cannot be listed.
    """
    return sum(file.size for part in config.parts for file in source_files_of(part) or ())


def source_files_of(config: DataConfig) -> Sequence[SourceFile] | None:
    """The files of one source in their order; None where it is not files.

    Raises:
        DataError: there is none.
        StorageError: a bucket cannot be listed.
    """
    scheme, _, place = config.source.partition(":")
    return READERS[scheme].listing(place)


def _standard_library(_: str) -> list[SourceFile]:
    root = Path(sysconfig.get_path("stdlib"))
    paths = (path for path in root.rglob("*.py") if not _STDLIB_LEFT_OUT.intersection(path.relative_to(root).parts))
    return sorted((LocalFile(path, path.relative_to(root).as_posix()) for path in paths), key=lambda file: file.name)


def _unreadable(file: SourceFile, error: OSError) -> DataError:
    return DataError(
        "data.unreadable",
        field="data.source",
        problem=f"{file.place} cannot be read ({error})",
        remedy="check the file and its permissions",
    )


READERS: dict[str, Reader] = {
    "stdlib": FileReader(_standard_library, plain_text),
    "text": FileReader(matching_files, plain_text),
    "jsonl": FileReader(partial(matching_files, endings=(".jsonl", ".ndjson", ".json")), json_lines),
    "parquet": FileReader(partial(matching_files, endings=(".parquet",)), parquet_rows),
    "arrow": FileReader(partial(matching_files, endings=(".arrow", ".feather")), arrow_rows),
    "tree": FileReader(matching_files, plain_text, note_tree_file),
    "hf": HubReader(),
}
"""By scheme; `study.source_config.SOURCES` names the schemes that a study may use."""
