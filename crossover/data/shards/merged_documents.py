"""The shards of a corpus as one: documents, digests and signatures in the order in which one process would read them.

Memory holds for each document its digest (32 bytes), the number of its stream and whether it is kept (3 bytes); texts
and signatures are read from the shards as they are needed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from crossover.data.cleaning.exact_duplicates import DIGEST, drop_repeated_units, repeated_digests, text_digest
from crossover.data.deduplication.near_clusters import Indices
from crossover.data.deduplication.near_duplicates import NearDuplicates, clusters
from crossover.data.document_spool import Document, DocumentSpool
from crossover.data.shards.count_sums import add_counts
from crossover.data.shards.shard_files import DIGEST_BYTES, DIGESTS, SIGNATURES, CorpusShard
from crossover.data.sources import SourceCounts, mixed, part_counts
from crossover.data.sources.bad_documents import bad_document_error
from crossover.files import writing_to
from crossover.study.data_config import DataConfig

Digests = NDArray[np.uint8]
_BLOCK = 1 << 14
"""Documents whose digests or signatures are copied at once."""


class Documents(Protocol):
    """May be iterated any number of times."""

    def __iter__(self) -> Iterator[Document]:
        """In their order."""


class MergedShards:
    """All documents of a corpus, cleaned, duplicates included.

    Args:
        data: as the shards were read.
        shards: all of them, in their order.
        counts: what one process would have counted is added.

    Raises:
        DataError: a mixture has come to a bad document, and the study refuses those.
    """

    def __init__(self, data: DataConfig, shards: Sequence[CorpusShard], counts: SourceCounts) -> None:
        self._shards = shards
        self._in_parts = bool(data.sources) and len(shards) > 1
        if self._in_parts:
            self._streams = _take_mixture(data, shards, counts)
        else:
            for shard in shards:
                add_counts(counts, shard.counts)
            self._streams = np.zeros(sum(shard.documents[0] for shard in shards), dtype=np.uint16)

    def __len__(self) -> int:
        """Documents."""
        return len(self._streams)

    def __iter__(self) -> Iterator[Document]:
        """The documents in their order."""
        if not self._in_parts:
            for shard in self._shards:
                yield from shard.stream(0)
            return
        streams = [self._stream(number) for number in range(int(self._streams.max(initial=0)) + 1)]
        for number in self._streams:
            yield next(streams[number])

    def _stream(self, number: int) -> Iterator[Document]:
        return (document for shard in self._shards for document in shard.stream(number))

    def digests(self) -> Digests:
        """SHA-256 of each document. Shape (documents, 32)."""
        digests = np.empty((len(self), DIGEST_BYTES), dtype=np.uint8)
        for start, rows in self._rows(DIGESTS, DIGEST_BYTES):
            digests[start : start + len(rows)] = rows
        return digests

    def write_signatures(self, width: int, keep: NDArray[np.bool_], file: IO[bytes]) -> None:
        """Write the signatures of the documents that are kept.

        Args:
            width: bytes of one.
            keep: shape (documents,).
            file: to write to.
        """
        for start, rows in self._rows(SIGNATURES, width):
            file.write(rows[keep[start : start + len(rows)]].tobytes())

    def _rows(self, kind: str, width: int) -> Iterator[tuple[int, Digests]]:
        """The bytes that shards have of each document: the place of the first of a block, and the block's."""
        readers = [_Rows(self._shards, number, kind, width) for number in range(len(self._shards[0].documents))]
        for start in range(0, len(self), _BLOCK):
            streams = self._streams[start : start + _BLOCK]
            block = np.empty((len(streams), width), dtype=np.uint8)
            for number in np.unique(streams):
                own = streams == number
                block[own] = readers[number].read(int(own.sum()))
            yield start, block


class _Rows:
    """Reads the rows of one stream of all shards, one after the other."""

    def __init__(self, shards: Sequence[CorpusShard], stream: int, kind: str, width: int) -> None:
        self._paths = [shard.folder / f"{stream}.{kind}" for shard in reversed(shards) if shard.documents[stream]]
        self._width, self._rest = width, np.empty((0, width), dtype=np.uint8)

    def read(self, count: int) -> Digests:
        rows = [self._rest[:count]]
        self._rest = self._rest[count:]
        while (missing := count - sum(map(len, rows))) > 0:
            content = np.memmap(self._paths.pop(), dtype=np.uint8, mode="r").reshape(-1, self._width)
            rows.append(content[:missing])
            self._rest = content[missing:]
        return np.concatenate(rows)


def _take_mixture(data: DataConfig, shards: Sequence[CorpusShard], counts: SourceCounts) -> NDArray[np.uint16]:
    """The source of each document that a mixture takes and cleaning leaves, in the order in which it takes them."""
    parts = part_counts(data)
    counts.parts += parts

    def taken(number: int) -> Iterator[tuple[int, bool, int]]:
        for shard in shards:
            for size, kept, counted in shard.taken(number):
                if data.bad_documents == "refuse" and counted.skipped.counts:
                    fault, places = next(iter(counted.skipped.places.items()))
                    raise bad_document_error(places[0], fault)
                add_counts(parts[number], counted.parts.pop())
                add_counts(counts, counted)
                if size is not None:
                    yield number, kept, size

    takes = mixed([taken(number) for number in range(len(parts))], parts)
    return np.fromiter((number for number, kept, _ in takes if kept), dtype=np.uint16)


class DistinctDocuments:
    """The documents of a corpus that are unlike all before them; of each its digest.

    Args:
        documents: may be read again and again.
        digests: SHA-256 of each. Shape (documents, 32).
        near: the document that stands for each distinct one's cluster of near-duplicates. Shape (distinct,).
    """

    def __init__(self, documents: Documents, digests: Digests, keep: NDArray[np.bool_], near: Indices) -> None:
        self._documents, self._keep, self.near = documents, keep, near
        self.digests = digests[keep]

    def __len__(self) -> int:
        """Distinct documents."""
        return len(self.digests)

    def __iter__(self) -> Iterator[Document]:
        """The distinct documents in their order."""
        return compress(self._documents, self._keep)


@contextmanager
def distinct_of_shards(
    data: DataConfig, shards: Sequence[CorpusShard], counts: SourceCounts, scratch: Path
) -> Iterator[DistinctDocuments]:
    """The distinct documents of a corpus, while the context is open.

    Args:
        data: as the shards were read.
        shards: all of them, in their order.
        counts: filled.
        scratch: folder for signatures.

    Raises:
        DataError: a mixture has come to a bad document, and the study refuses those.
        WorkspaceError: the scratch folder cannot be written, or the disk is full.
    """
    merged = MergedShards(data, shards, counts)
    digests = merged.digests()
    keep = _unequal(digests, counts)
    if data.deduplication.exact == "document":
        near = _clusters_of_shards(data, merged, digests, keep, scratch)
        yield DistinctDocuments(merged, digests, keep, near)
        return
    units = drop_repeated_units(compress(merged, keep), data.deduplication, counts.cleaning.repeats)
    with DocumentSpool(scratch) as spool:
        found = bytearray()
        for document in units:
            spool.append(*document)
            found += text_digest(document.text)
        digests = np.frombuffer(found, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        keep = _unequal(digests, counts)
        distinct = DistinctDocuments(spool, digests, keep, np.arange(int(keep.sum())))
        if data.deduplication.near != "off":
            with NearDuplicates(data.deduplication, scratch) as near_duplicates:
                for digest, document in zip(distinct.digests, distinct, strict=True):
                    near_duplicates.add(digest.tobytes(), document.text)
                distinct.near = near_duplicates.first_of_cluster()
        yield distinct


def _unequal(digests: Digests, counts: SourceCounts) -> NDArray[np.bool_]:
    """Which documents are unlike all before them; the others are counted. Shape (documents,)."""
    keep = ~repeated_digests(np.ascontiguousarray(digests[:, : DIGEST.itemsize]).view(DIGEST)[:, 0])
    counts.duplicates += int((~keep).sum())
    return keep


def _clusters_of_shards(
    data: DataConfig, merged: MergedShards, digests: Digests, keep: NDArray[np.bool_], scratch: Path
) -> Indices:
    if data.deduplication.near == "off":
        return np.arange(int(keep.sum()))
    keys = np.ascontiguousarray(digests[keep][:, :8]).view(">u8")[:, 0].astype(np.uint64)
    with writing_to(scratch), tempfile.TemporaryFile(dir=scratch, prefix=".signatures.") as file:
        merged.write_signatures(4 * data.deduplication.hashes, keep, file)
        file.flush()
        return clusters(data.deduplication, file, keys)
