"""Sources of documents by URI: files, trees, columns, buckets, the hub; their bad documents, and mixtures of them."""

from crossover.data.sources.first_fields import first_fields
from crossover.data.sources.packed_files import unpacked
from crossover.data.sources.read_sources import (
    READERS,
    FileReader,
    Reader,
    documents,
    mixed,
    part_counts,
    part_texts,
    source_bytes,
    source_files_of,
)
from crossover.data.sources.source_counts import SourceCounts, SourceReport
from crossover.data.sources.source_files import matching_files

__all__ = [
    "READERS",
    "FileReader",
    "Reader",
    "SourceCounts",
    "SourceReport",
    "documents",
    "first_fields",
    "matching_files",
    "mixed",
    "part_counts",
    "part_texts",
    "source_bytes",
    "source_files_of",
    "unpacked",
]
