"""Near-duplicates of a corpus as its documents pass: signatures on disk, clusters from them, the split by cluster.

Memory holds 8 bytes a document while they pass and about 60 while clusters are made; a signature is 4 bytes a hash in a
scratch file. Documents are hashed in batches on several threads: the arithmetic is numpy's, which runs outside of the
interpreter's lock, and the result does not depend on the number of threads.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from crossover.data.deduplication.minhash import Signatures, signatures
from crossover.data.deduplication.near_clusters import Indices, first_of_cluster
from crossover.files import writing_to
from crossover.settings import get_settings
from crossover.study.near_config import NearConfig

_BATCH = 1 << 18
"""Characters that are hashed at once; one document is never cut."""


class SignatureWriter:
    """Hashes texts in batches on several threads and writes their signatures in their order; a context manager.

    Args:
        config: unit, shingle and hashes.
        file: to write to; its errors are the operating system's.
        threads: for hashing; default: the CPU threads of a step.
    """

    def __init__(self, config: NearConfig, file: IO[bytes], threads: int | None = None) -> None:
        self._config, self._file = config, file
        self._threads = threads or get_settings().step_threads
        self._pool = ThreadPoolExecutor(self._threads)
        self._running: deque[Future[Signatures]] = deque()
        self._texts, self._characters = list[str](), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, text: str) -> None:
        """Take the next text."""
        self._texts.append(text)
        self._characters += len(text)
        if self._characters >= _BATCH:
            self._hash_batch()

    def finish(self) -> None:
        """Write the signatures of all texts; the last call."""
        if self._texts:
            self._hash_batch()
        self._store(0)
        self._file.flush()

    def _hash_batch(self) -> None:
        config, texts = self._config, self._texts
        self._texts, self._characters = [], 0
        self._running.append(self._pool.submit(signatures, texts, config.unit, config.shingle, config.hashes))
        self._store(2 * self._threads)

    def _store(self, most: int) -> None:
        """Write signatures in the order of the documents until at most so many batches are being hashed."""
        while len(self._running) > most:
            self._file.write(self._running.popleft().result().tobytes())


def clusters(config: NearConfig, file: IO[bytes], keys_D: NDArray[np.uint64]) -> Indices:
    """The document that stands for each: the first of its cluster by key. Shape (documents,).

    Args:
        config: what makes two documents near-duplicates.
        file: with their signatures.
        keys_D: the first eight bytes of each text's SHA-256, big endian. Shape (documents,).

    Raises:
        OSError: the file cannot be read.
    """
    if not len(keys_D):
        return np.empty(0, dtype=np.int64)
    hashed = np.memmap(file, dtype=np.uint32, mode="r").reshape(-1, config.hashes)
    return first_of_cluster(hashed, keys_D, config.bands, config.least_equal)


class NearDuplicates:
    """Finds clusters of near-duplicates; a context manager, whose scratch file has no name and goes with it.

    Args:
        config: what makes two documents near-duplicates.
        scratch: folder for the signatures.
        threads: for hashing; default: the CPU threads of a step.

    Raises:
        WorkspaceError: the folder cannot be written; in `add` and `first_of_cluster` when the disk is full.
    """

    def __init__(self, config: NearConfig, scratch: Path, threads: int | None = None) -> None:
        self._config, self._scratch = config, scratch
        with writing_to(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=scratch, prefix=".signatures.")
        self._writer, self._keys = SignatureWriter(config, self._file, threads), array("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, value, trace)
        self._file.close()

    def add(self, digest: bytes, text: str) -> None:
        """Take the next document.

        Args:
            digest: SHA-256 of the text; its first eight bytes order the documents of a cluster.
            text: of the document.
        """
        self._keys.append(int.from_bytes(digest[:8], "big"))
        with writing_to(self._scratch):
            self._writer.add(text)

    def first_of_cluster(self) -> Indices:
        """The document that stands for each: the first of its cluster by digest. Shape (documents,)."""
        with writing_to(self._scratch):
            self._writer.finish()
            return clusters(self._config, self._file, np.frombuffer(self._keys, dtype=np.uint64))


def split_by_cluster(
    held_out: NDArray[np.bool_], first: Indices, near: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The side of each document, and whether it is kept. Shapes (documents,).

    Args:
        held_out: the side that each document's own digest says. Shape (documents,).
        first: `NearDuplicates.first_of_cluster`. Shape (documents,).
        near: of the study: `count` leaves both as they are, `split` gives a cluster the side of its first document,
            `drop` also keeps that one alone.
    """
    sides = held_out[first] if near in ("split", "drop") else held_out
    is_first = first == np.arange(len(first))
    return sides, is_first if near == "drop" else np.ones(len(first), dtype=np.bool_)
