"""A corpus as it is read once: exact duplicates dropped, split by document, tokenised.

Which side a document is on depends on its own text only, so that it stays there when the corpus grows, or on the first
text of its cluster of near-duplicates (`data.deduplication.near`).
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossover.data.cleaning.clean_documents import clean_documents
from crossover.data.cleaning.exact_duplicates import drop_repeated_units, text_digest
from crossover.data.disjoint_split import NO_TASKS, TaskTexts, fill_sides
from crossover.data.document_spool import SCORE, Document
from crossover.data.overlap_counts import NearCounts, OverlapCounts
from crossover.data.shards.merged_documents import DistinctDocuments, distinct_of_shards
from crossover.data.shards.shard_files import CorpusShard
from crossover.data.shards.shard_plan import plan_shards
from crossover.data.shards.shard_processes import PROGRESS_BYTES, make_shards
from crossover.data.sources import SourceCounts, documents, source_bytes
from crossover.data.sources.source_roots import source_roots
from crossover.data.split_side import SplitSide
from crossover.files import writing_to
from crossover.progress import byte_meter
from crossover.study.data_config import DataConfig
from crossover.tokenization.subword_tokenizer import SubwordTokenizer
from crossover.tokenization.tokenizer import Tokenizer
from crossover.tokenization.tokenizer_file import vocabulary_rows
from crossover.tokenization.tokenizer_lookup import named_tokenizer


@dataclass(frozen=True)
class SplitCorpus:
    """Both sides, what was counted, and what names the content."""

    train: SplitSide
    validation: SplitSide
    tokenizer: Tokenizer
    counts: SourceCounts
    content: str
    """SHA-256 over the digests of the distinct documents and their scores if read, in the order they were read in."""
    near: NearCounts
    contamination: tuple[OverlapCounts, ...]


@contextmanager
def read_corpus(
    data: DataConfig, scratch: Path, tasks: TaskTexts = NO_TASKS, shards: Sequence[Path] = ()
) -> Iterator[SplitCorpus]:
    """Read a corpus and put each distinct document on the side that its own digest or its cluster's says.

    Args:
        data: what to read and how.
        scratch: folder for the tokens while the context is open.
        tasks: items whose n-grams are looked for in the training documents.
        shards: folders of the finished shards of the corpus, in their order; none: they are made in the scratch folder.

    Raises:
        DataError: the source names no files, or holds what is not text.
        WorkspaceError: the scratch folder cannot be written, or the disk is full.
    """
    with ExitStack() as stack:
        stack.enter_context(writing_to(scratch))
        scratch.mkdir(parents=True, exist_ok=True)
        train_file, validation_file = (
            stack.enter_context(tempfile.TemporaryFile(dir=scratch)) for _ in ("train", "validation")
        )
        tokenizer = named_tokenizer(data.tokenizer)
        sides = SplitSide(train_file, scratch, tokenizer), SplitSide(validation_file, scratch, tokenizer)
        with nullcontext(shards) if shards else _temporary_shards(data, scratch) as folders:
            corpus = _read(data, [CorpusShard(folder) for folder in folders], *sides, scratch, tasks)
        yield corpus


@contextmanager
def _temporary_shards(data: DataConfig, scratch: Path) -> Iterator[Sequence[Path]]:
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".shards.") as folder:
        sources = plan_shards(data)
        make_shards(data, sources, Path(folder))
        yield [Path(folder, source.name) for source in sources]


class SplitDocument(NamedTuple):
    """A document that is unlike all before it."""

    name: str
    text: str
    digest: bytes
    """SHA-256 of the text."""
    held_out: bool


Stage = Callable[[Iterator[Document]], Iterator[Document]]
"""Documents in a fixed order to documents in the same order, fewer or changed; it may keep them in a spool between."""


def distinct_documents(data: DataConfig, counts: SourceCounts) -> Generator[SplitDocument, None, None]:
    """The documents of a corpus, cleaned, without exact duplicates, with progress.

    Args:
        data: what to read and how.
        counts: updated while the documents are read.

    Raises:
        DataError: the source names no files, or holds what is not text.
        WorkspaceError: the scratch folder cannot be written, or the disk is full.
    """
    stream = _source_documents(data, counts)
    for stage in _stages(data, counts):
        stream = stage(stream)
    for document in stream:
        yield _split_document(document, data)


def _split_document(document: Document, data: DataConfig) -> SplitDocument:
    digest = text_digest(document.text)
    return SplitDocument(document.name, document.text, digest, is_held_out(digest, data))


def is_held_out(digest: bytes, data: DataConfig) -> bool:
    """The side of a document: of its digest alone, so that it stays there when the corpus grows."""
    return int.from_bytes(digest[16:24], "big") < data.validation_fraction * 2**64


def held_out_sides(digests: NDArray[np.uint8], data: DataConfig) -> NDArray[np.bool_]:
    """The same for the digests of many documents, shape (documents, 32). Shape (documents,)."""
    numbers = np.ascontiguousarray(digests[:, 16:24]).view(">u8")[:, 0]
    return numbers < np.uint64(math.ceil(data.validation_fraction * 2**64))


def _stages(data: DataConfig, counts: SourceCounts) -> list[Stage]:
    """What documents go through between their source and the split, in this order."""
    roots = source_roots(data)
    stages: list[Stage] = [lambda documents: clean_documents(documents, data.cleaning, counts.cleaning, roots)]
    stages.append(lambda documents: _unequal_documents(documents, counts))
    if data.deduplication.exact != "document":
        stages.append(lambda documents: drop_repeated_units(documents, data.deduplication, counts.cleaning.repeats))
        stages.append(lambda documents: _unequal_documents(documents, counts))
    return stages


def _source_documents(data: DataConfig, counts: SourceCounts) -> Iterator[Document]:
    shown = 0
    with byte_meter("read", data.source_label, source_bytes(data), least=PROGRESS_BYTES) as advance:
        for document in documents(data, counts):
            advance(counts.bytes_read - shown)
            shown = counts.bytes_read
            yield document


def _unequal_documents(documents: Iterator[Document], counts: SourceCounts) -> Iterator[Document]:
    """Every document but those that stood before."""
    seen: set[bytes] = set()
    for document in documents:
        digest = text_digest(document.text)[:16]
        if digest in seen:
            counts.duplicates += 1
        else:
            seen.add(digest)
            yield document


def _content(data: DataConfig, distinct: DistinctDocuments) -> str:
    """SHA-256 over the digests of the distinct documents, and their scores where a column has them."""
    content = hashlib.sha256()
    if data.quality.scorer == "column":
        for digest, document in zip(distinct.digests, distinct, strict=True):
            content.update(digest.tobytes() + document.attributes[SCORE].encode())
    else:
        content.update(distinct.digests.data)
    return f"sha256:{content.hexdigest()}"


def _read(
    data: DataConfig,
    shards: Sequence[CorpusShard],
    train: SplitSide,
    validation: SplitSide,
    scratch: Path,
    tasks: TaskTexts,
) -> SplitCorpus:
    counts = SourceCounts()
    with distinct_of_shards(data, shards, counts, scratch) as distinct:
        train.sizes = validation.sizes = counts.cleaning.bytes_kept
        content = _content(data, distinct)
        sides = held_out_sides(distinct.digests, data)
        clusters = distinct.near, sides
        near, contamination = fill_sides(
            data, distinct.__iter__, clusters, train, validation, tasks, counts.cleaning.tiers
        )
    if train.tokenizer is None:
        trained = SubwordTokenizer.train(vocabulary_rows(data.tokenizer), train.texts())
        train.tokenize(trained)
        validation.tokenize(trained)
    assert train.tokenizer is not None  # noqa: S101 - named, or trained just now
    return SplitCorpus(train, validation, train.tokenizer, counts, content, near, contamination)
