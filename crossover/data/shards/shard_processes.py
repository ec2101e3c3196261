"""The shards of a corpus on one machine: in this process, or by several, started anew (spawn) and ended with this one.

Shards are given out in their order. After a failure no more are; those that are being made are finished, so that the
failure that one process would have come to first is the one that is reported.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from crossover.data.shards.shard_files import Advance, write_shard
from crossover.data.shards.shard_plan import ShardSource, plan_shards
from crossover.data.sources.bad_documents import changed_error
from crossover.errors import WorkspaceError
from crossover.progress import MEBIBYTE, byte_meter
from crossover.settings import get_settings
from crossover.study.data_config import DataConfig

PROGRESS_BYTES = 8 * MEBIBYTE
"""Corpora above it show their progress."""
_POLL_SECONDS = 0.5


def make_shards(data: DataConfig, sources: Sequence[ShardSource], folder: Path, workers: int = 0) -> None:
    """Write some shards of a corpus, each to a folder of its name.

    Args:
        data: the corpus.
        sources: those of `plan_shards(data, of)` that are wanted.
        folder: of their folders.
        workers: processes; 0 for as many as cores that the settings allow. There are never more than shards.

    Raises:
        DataError: a file cannot be read, or a document is bad and the study refuses those.
        WorkspaceError: the folder cannot be written, the disk is full, or the system ended a process.
    """
    workers = min(workers or get_settings().lone_step_threads, len(sources))
    size = sum(source.bytes for source in sources)
    with byte_meter("read", data.source_label, size, least=PROGRESS_BYTES) as advance:
        if workers > 1:
            _Workers(data, sources, folder, advance).run(workers)
        else:
            for source in sources:
                write_shard(data, source, folder / source.name, advance)


@dataclass
class _Workers:
    """Processes that write shards."""

    data: DataConfig
    sources: Sequence[ShardSource]
    folder: Path
    advance: Advance
    _shown: int = 0
    _failures: list[tuple[int, Exception]] = field(default_factory=list)

    def run(self, workers: int) -> None:
        """Write all shards, or raise what the first one in the order failed with."""
        context = get_context("spawn")
        following, read = context.Value("q", 0), context.Array("q", workers, lock=False)
        wanted = [(source.number, source.name) for source in self.sources]
        running: dict[Connection, BaseProcess] = {}
        try:
            for worker in range(workers):
                mine, theirs = context.Pipe(duplex=False)
                arguments = (self.data, self.sources[0].of, wanted, self.folder, following, read, worker, theirs)
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                theirs.close()
                running[mine] = process
            while running:
                for connection in wait(list(running), _POLL_SECONDS):
                    self._hear(connection, running)  # type: ignore[arg-type]  # only connections are waited for
                if self._failures:
                    following.value = len(wanted)  # one that the system ended could not say so itself
                self.advance(sum(read) - self._shown)
                self._shown = sum(read)
        finally:
            for left in running.values():
                left.kill()
            for left in running.values():
                left.join()
        if self._failures:
            raise min(self._failures, key=lambda failure: failure[0])[1]

    def _hear(self, connection: Connection, running: dict[Connection, BaseProcess]) -> None:
        """Take what a worker failed with, if it did; it ends after it."""
        process = running[connection]
        try:
            failure = connection.recv()
        except EOFError:
            process.join()
            failure = None
            if process.exitcode:
                failure = (len(self.sources), _ended(process.exitcode))
        if failure:
            self._failures.append(failure)
        process.join()
        connection.close()
        del running[connection]


def _work(
    data: DataConfig,
    of: int,
    wanted: Sequence[tuple[int, str]],
    folder: Path,
    following: Any,  # noqa: ANN401 - multiprocessing names no type for its shared values
    read: Any,  # noqa: ANN401 - as above
    worker: int,
    failures: Connection,
) -> None:
    """Write shards until there is none left; a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    place = -1

    def advance(count: int) -> None:
        read[worker] += count

    try:
        sources = plan_shards(data, of)
        while (place := _next(following)) < len(wanted):
            number, name = wanted[place]
            source = sources[number - 1]
            if source.name != name:
                raise changed_error(f"a file of {data.source_label}")
            write_shard(data, source, folder / name, advance, threads=1)
    except Exception as error:
        with following.get_lock():
            following.value = len(wanted)
        failures.send((place, error))
    sys.stdout.flush()


def _next(following: Any) -> int:  # noqa: ANN401 - as above
    with following.get_lock():
        place = int(following.value)
        following.value += 1
    return place


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _ended(code: int) -> WorkspaceError:
    if code < 0:
        return WorkspaceError(
            "workspace.process-ended",
            field="data.source",
            problem=f"a process that reads the corpus was ended ({signal.Signals(-code).name}); the machine may lack "
            "memory",
            remedy="run again, which goes on from the finished shards, with fewer processes: CROSSOVER_PARALLELISM "
            "times CROSSOVER_THREADS",
        )
    return WorkspaceError(
        "workspace.process-failed",
        field="data.source",
        problem=f"a process that reads the corpus ended with exit code {code}; its own error is above",
        remedy="correct that; in Python, call this from a file, below `if __name__ == '__main__':`",
    )
