"""Which files each shard of a corpus is made of, and its name: of all that decides what is in it.

Shards are contiguous parts of the ordered list of files, balanced by their bytes; a file is never cut, and a dataset of
the hub is part of the first shard. In a mixture every source is cut into all shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossover.data.sources import source_files_of
from crossover.data.sources.source_files import SourceFile
from crossover.files import digest_of
from crossover.progress import MEBIBYTE
from crossover.study.data_config import DataConfig

SHARD_VERSION = 2
"""Raise when the same files and settings would give another shard."""
SHARD_BYTES = 64 * MEBIBYTE
"""Of stored files, from which on a corpus has two shards where nobody says how many."""
MOST_SHARDS = 256
"""Where nobody says how many."""
_DECIDED_LATER = frozenset(
    ("tokenizer", "sequence_length", "packing", "attention", "resample", "validation_fraction", "validation_tokens")
)
"""Settings that no shard depends on; those of a section follow the merge: `contamination`, and tiers."""

Files = tuple[SourceFile, ...] | None
"""Of one source; None for all of a source that is not files."""


@dataclass(frozen=True)
class ShardSource:
    """What one shard is made of."""

    number: int
    """From 1."""
    of: int
    files: tuple[Files, ...]
    """Of each source of the corpus."""
    digest: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.number:05}-of-{self.of:05}-{self.digest.removeprefix('sha256:')[:16]}"

    @property
    def bytes(self) -> int:
        """Of its files as they are stored."""
        return sum(file.size for files in self.files for file in files or ())


def shard_number(name: str) -> tuple[int, int] | None:
    """The number of a shard and of how many, from its name; None for other names."""
    parts = name.split("-")
    if len(parts) != 4 or parts[1] != "of" or not (parts[0].isdecimal() and parts[2].isdecimal()):
        return None
    return int(parts[0]), int(parts[2])


def plan_shards(data: DataConfig, of: int = 0) -> list[ShardSource]:
    """Cut a corpus into shards.

    Args:
        data: the corpus.
        of: how many; 0 takes as many as its bytes make worth while, and one for a mixture.

    Raises:
        DataError: a source has no file.
        StorageError: a bucket cannot be listed.
    """
    found = [source_files_of(part) for part in data.parts]
    if not of:
        size = sum(file.size for files in found for file in files or ())
        of = 1 if data.sources else min(max(1, size // SHARD_BYTES), len(found[0] or ()) or 1, MOST_SHARDS)
    cut = [_cut(files, of) for files in found]
    shards = []
    for number, files in enumerate(zip(*cut, strict=True), start=1):
        shards.append(ShardSource(number, of, files, _digest(data, files, number, of)))
    return shards


def _cut(files: Sequence[SourceFile] | None, of: int) -> list[Files]:
    if files is None:
        return [None, *[()] * (of - 1)]
    parts: list[list[SourceFile]] = [[] for _ in range(of)]
    total, before = sum(file.size for file in files), 0
    for place, file in enumerate(files):
        middle = (2 * before + file.size) * of // (2 * total) if total else place * of // len(files)
        parts[min(middle, of - 1)].append(file)
        before += file.size
    return [tuple(part) for part in parts]


def _digest(data: DataConfig, files: tuple[Files, ...], number: int, of: int) -> str:
    values = data.model_dump(mode="json", exclude={*_DECIDED_LATER, "contamination", "quality"})
    values["scores"] = data.quality.column if data.quality.scorer == "column" else ""
    values["deduplication"] = [data.deduplication.exact, _signature(data)]
    listing = [None if part is None else [[file.place, file.size, file.version] for file in part] for part in files]
    return digest_of({"version": SHARD_VERSION, "data": values, "shard": [number, of], "files": listing})


def _signature(data: DataConfig) -> list[str | int]:
    near = data.deduplication
    return [near.unit, near.shingle, near.hashes] if has_signatures(data) else []


def has_signatures(data: DataConfig) -> bool:
    """Whether shards hold MinHash signatures: not where the merge takes paragraphs or lines out of documents."""
    return data.deduplication.near != "off" and data.deduplication.exact == "document"
