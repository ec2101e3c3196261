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
from typing import Self

import numpy as np
from numpy.typing import NDArray

from crossover.data.deduplication.minhash import Signatures, signatures
from crossover.data.deduplication.near_clusters import Indices, first_of_cluster
from crossover.files import workspace_error
from crossover.settings import get_settings
from crossover.study.deduplication_config import DeduplicationConfig

_BATCH = 1 << 18
"""Characters that are hashed at once; one document is never cut."""


class NearDuplicates:
    """Finds clusters of near-duplicates; a context manager, whose scratch file has no name and goes with it.

    Args:
        config: what makes two documents near-duplicates.
        scratch: folder for the signatures.
        threads: for hashing; default: the CPU threads of a step.

    Raises:
        WorkspaceError: the folder cannot be written; in `add` and `first_of_cluster` when the disk is full.
    """

    def __init__(self, config: DeduplicationConfig, scratch: Path, threads: int | None = None) -> None:
        self._config, self._scratch = config, scratch
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=scratch, prefix=".signatures.")
        except OSError as error:
            raise workspace_error(scratch, error) from error
        self._threads = threads or get_settings().step_threads
        self._pool = ThreadPoolExecutor(self._threads)
        self._running: deque[Future[Signatures]] = deque()
        self._keys, self._texts, self._characters = array("Q"), list[str](), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._file.close()

    def add(self, digest: bytes, text: str) -> None:
        """Take the next document.

        Args:
            digest: SHA-256 of the text; its first eight bytes order the documents of a cluster.
            text: of the document.
        """
        self._keys.append(int.from_bytes(digest[:8], "big"))
        self._texts.append(text)
        self._characters += len(text)
        if self._characters >= _BATCH:
            self._hash_batch()

    def first_of_cluster(self) -> Indices:
        """The document that stands for each: the first of its cluster by digest. Shape (documents,)."""
        if self._texts:
            self._hash_batch()
        self._store(0)
        if not self._keys:
            return np.empty(0, dtype=np.int64)
        try:
            self._file.flush()
            hashed = np.memmap(self._file, dtype=np.uint32, mode="r").reshape(-1, self._config.hashes)
        except OSError as error:
            raise workspace_error(self._scratch, error) from error
        keys = np.frombuffer(self._keys, dtype=np.uint64)
        return first_of_cluster(hashed, keys, self._config.bands, self._config.least_equal)

    def _hash_batch(self) -> None:
        config, texts = self._config, self._texts
        self._texts, self._characters = [], 0
        self._running.append(self._pool.submit(signatures, texts, config.unit, config.shingle, config.hashes))
        self._store(2 * self._threads)

    def _store(self, most: int) -> None:
        """Write signatures in the order of the documents until at most so many batches are being hashed."""
        while len(self._running) > most:
            try:
                self._file.write(self._running.popleft().result().tobytes())
            except OSError as error:
                raise workspace_error(self._scratch, error) from error


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
