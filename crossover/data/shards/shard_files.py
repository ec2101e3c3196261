"""One shard on disk: cleaned documents with their digests and MinHash signatures, what was counted, and a manifest.

What stands for each stream is `<n>.documents` (compressed frames), `<n>.digests` (32 bytes a document) and
`<n>.signatures` (4 bytes a hash). A corpus of one source has one stream, as has any corpus that is one shard. In more
shards of a mixture each source is a stream of its own, read to its end, and `<n>.taken` has the bytes of every document
as its source has it, with what was counted up to it: only the merge knows which documents the mixture takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from crossover.data.cleaning.clean_documents import clean_documents, cleaner
from crossover.data.cleaning.exact_duplicates import text_digest
from crossover.data.deduplication.near_duplicates import SignatureWriter
from crossover.data.document_spool import Document, DocumentWriter, read_documents
from crossover.data.shards.count_sums import clear_counts, counts_from, counts_of, counts_text, counts_value
from crossover.data.shards.shard_plan import Files, ShardSource, has_signatures
from crossover.data.sources import SourceCounts, documents, part_counts, part_texts
from crossover.data.sources.source_roots import source_roots
from crossover.files import digest_of_file, read_json, replacing, write_json, writing_to
from crossover.study.data_config import DataConfig

MANIFEST = "manifest.json"
DOCUMENTS, DIGESTS, SIGNATURES, TAKEN = "documents", "digests", "signatures", "taken"
DIGEST_BYTES = 32
Advance = Callable[[int], None]
"""Takes the bytes of files that were read since it was last called."""


class _StreamWriter:
    """The files of one stream, named when the block ends without an exception."""

    def __init__(self, data: DataConfig, folder: Path, stream: int, threads: int | None, *, taken: bool) -> None:
        self._stack, self._count = ExitStack(), 0
        names = [DOCUMENTS, DIGESTS, *([SIGNATURES] if has_signatures(data) else []), *([TAKEN] if taken else [])]
        self._files = {name: self._stack.enter_context(replacing(folder / f"{stream}.{name}")) for name in names}
        self.names = [f"{stream}.{name}" for name in names]
        self._documents = DocumentWriter(self._files[DOCUMENTS])
        self._signatures = self._taken = None
        if SIGNATURES in self._files:
            writer = SignatureWriter(data.deduplication, self._files[SIGNATURES], threads)
            self._signatures = self._stack.enter_context(writer)
        if taken:
            self._taken = DocumentWriter(self._files[TAKEN])

    def __enter__(self) -> _StreamWriter:
        return self

    def __exit__(self, *failure: Any) -> bool | None:  # noqa: ANN401 - as ExitStack's
        return self._stack.__exit__(*failure)

    def add(self, document: Document) -> None:
        self._documents.append(*document)
        self._files[DIGESTS].write(text_digest(document.text))
        if self._signatures is not None:
            self._signatures.add(document.text)
        self._count += 1

    def take(self, size: str, counts: SourceCounts, kept: Document | None) -> None:
        """Note a document of a source, or with an empty size its end, and what was counted since the one before."""
        assert self._taken is not None  # noqa: S101 - a stream of a mixture
        self._taken.append(size, counts_text(counts), {"kept": "yes"} if kept else {})
        if kept:
            self.add(kept)

    def finish(self) -> int:
        """Write what is not yet written; returns how many documents there are."""
        self._documents.close_frame()
        if self._signatures is not None:
            self._signatures.finish()
        if self._taken is not None:
            self._taken.close_frame()
        return self._count


def write_shard(
    data: DataConfig,
    source: ShardSource,
    folder: Path,
    advance: Advance = lambda count: None,
    threads: int | None = None,
) -> None:
    """Read and clean the files of one shard. The same shard has the same content wherever and whenever it is written.

    Args:
        data: how documents are read and cleaned.
        source: of `plan_shards(data, of)`.
        folder: where its files go; its manifest is written last.
        advance: told of progress.
        threads: for signatures; default: the CPU threads of a step.

    Raises:
        DataError: a file cannot be read, or a document is bad and the study refuses those.
        WorkspaceError: the folder cannot be written, or the disk is full; no half file is left.
    """
    counts, in_parts = SourceCounts(), bool(data.sources) and source.of > 1
    try:
        with writing_to(folder):
            (folder / MANIFEST).unlink(missing_ok=True)
            with ExitStack() as stack:
                writers = [
                    stack.enter_context(_StreamWriter(data, folder, stream, threads, taken=in_parts))
                    for stream in range(len(data.parts) if in_parts else 1)
                ]
                if in_parts:
                    for number, part in enumerate(data.parts):
                        _write_source(part, source.files[number], writers[number], advance)
                else:
                    for document in _cleaned(data, counts, source, advance):
                        writers[0].add(document)
                streams = [writer.finish() for writer in writers]
            files = {name: digest_of_file(folder / name) for writer in writers for name in writer.names}
        manifest = {"kind": "corpus-shard", "digest": source.digest, "documents": streams, "files": files}
        write_json(folder / MANIFEST, {**manifest, "counts": counts_value(counts)})
    except BaseException:
        with suppress(OSError):  # not there, or another process works in it
            folder.rmdir()
        raise


def _cleaned(data: DataConfig, counts: SourceCounts, source: ShardSource, advance: Advance) -> Iterator[Document]:
    """The documents of all sources, merged if it is a mixture, cleaned."""
    empty = source.of > 1 and source.files == ((),)

    def read() -> Iterator[Document]:
        shown = 0
        for document in documents(data, counts, source.files):
            advance(counts.bytes_read - shown)
            shown = counts.bytes_read
            yield document
        advance(counts.bytes_read - shown)

    if empty:
        counts.parts += part_counts(data)
    return clean_documents(iter(()) if empty else read(), data.cleaning, counts.cleaning, source_roots(data))


def _write_source(config: DataConfig, files: Files, writer: _StreamWriter, advance: Advance) -> None:
    """The documents of one source of a mixture; bad ones are counted, for it may be that the mixture takes none."""
    config = config.model_copy(update={"bad_documents": "skip"})
    counts = SourceCounts()
    [part] = parts = part_counts(config)
    counts.parts += parts
    clean, shown = cleaner(config.cleaning, counts.cleaning, source_roots(config)), 0
    for document, size in part_texts(config, counts, part, files) if files != () else ():
        writer.take(str(size), counts, clean(document))
        read = part.bytes_read
        advance(read - shown)
        shown = read
        clear_counts(counts)
        part.bytes_read = read
    writer.take("", counts, None)


class CorpusShard:
    """A finished shard, opened for reading.

    Args:
        folder: where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = read_json(folder / MANIFEST)
        self.documents: list[int] = [int(count) for count in manifest["documents"]]
        """Documents of each stream."""
        self.counts = counts_from(manifest["counts"])

    def stream(self, number: int) -> Iterator[Document]:
        """The documents of a stream."""
        return read_documents(self.folder / f"{number}.{DOCUMENTS}")

    def taken(self, number: int) -> Iterator[tuple[int | None, bool, SourceCounts]]:
        """Of every document of a source of a mixture its bytes, whether it is in the stream, and what was counted.

        At the source's end the bytes are None.
        """
        for entry in read_documents(self.folder / f"{number}.{TAKEN}"):
            yield int(entry.name) if entry.name else None, bool(entry.attributes), counts_of(entry.text)
