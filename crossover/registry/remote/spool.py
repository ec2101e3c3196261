"""A spool on disk for requests that a server has yet to take: what is in it survives the process.

One journal for each process and registry, a file of JSON lines: requests as they come, `sent` before a batch goes out
under its key, `done` when the server has it. The next process that opens the spool sends what a dead one left, batches
under the same keys. A journal is locked by the process that writes it, and deleted when all of it is done.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossover.errors import RegistryError

REJECTED = "rejected"


@dataclass
class Entry:
    """One request: an address, and a body that may be joined with the next one's to the same address."""

    path: str
    body: dict[str, Any]
    points: int = 0
    """How many points it holds; 0 is sent alone."""


@dataclass
class Batch:
    """Entries that are sent as one request, under one key."""

    key: str
    entries: list[Entry] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The address."""
        return self.entries[0].path

    @property
    def body(self) -> bytes:
        """JSON; points of several entries in one list for each metric."""
        body = self.entries[0].body
        if len(self.entries) > 1:
            body = {"series": _joined([series for entry in self.entries for series in entry.body["series"]])}
        return json.dumps(body, separators=(",", ":")).encode()


def _joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Series with the points of parts in their order; from a part with steps that are recorded again on, new ones."""
    series: list[dict[str, Any]] = []
    growing: dict[tuple[object, ...], list[Any]] = {}
    for part in parts:
        key = tuple(part["metric"].values())
        if not part["again"] and key in growing:
            growing[key].extend(part["points"])
            continue
        series.append(part | {"points": list(part["points"])})
        growing.pop(key, None)
        if not part["again"]:
            growing[key] = series[-1]["points"]
    return series


class Journal:
    """One journal; `append` may be called while another thread takes batches.

    Args:
        path: of the file, which is made, or continued where a dead process left it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._waiting: deque[Entry] = deque()
        self._unfinished: deque[Batch] = deque()
        self._batches = 0
        self._file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise
        self._read()

    def _read(self) -> None:
        """What a process before has written: lines that are torn at the end never were answered for."""
        self._file.seek(0)
        open_batches: dict[str, Batch] = {}
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            self._file.truncate(len(whole))
        for line in whole.splitlines():
            record = json.loads(line)
            if "sent" in record:
                batch = Batch(record["sent"], [self._waiting.popleft() for _ in range(record["count"])])
                open_batches[batch.key] = batch
                self._batches += 1
            elif "done" in record:
                del open_batches[record["done"]]
            else:
                self._waiting.append(Entry(**record))
        self._unfinished.extend(open_batches.values())

    def append(self, entry: Entry) -> None:
        """Keep a request. When this returns, it survives the end of the process.

        Raises:
            RegistryError: it cannot be written, for example to a full disk.
        """
        with self._lock:
            self._write(vars(entry))
            self._waiting.append(entry)

    def take(self, most: int) -> Batch | None:
        """The next batch, at most so many points; None when nothing waits. It counts as waiting until `finish`."""
        with self._lock:
            if self._unfinished:
                return self._unfinished[0]
            if not self._waiting:
                return None
            self._batches += 1
            batch = Batch(f"{self.path.stem}-{self._batches}")
            points = 0
            while self._waiting:
                entry = self._waiting[0]
                joins = not batch.entries or (entry.points and batch.entries[0].points and entry.path == batch.path)
                if not joins or (batch.entries and points + entry.points > most):
                    break
                points += entry.points
                batch.entries.append(self._waiting.popleft())
            self._write({"sent": batch.key, "count": len(batch.entries)})
            self._unfinished.append(batch)
            return batch

    def finish(self, batch: Batch) -> None:
        """Note that the server has a batch."""
        with self._lock:
            self._write({"done": batch.key})
            self._unfinished.remove(batch)

    def reject(self, batch: Batch, reason: str) -> Path:
        """Set aside a batch that the server will never take; returns the file that holds it."""
        folder = self.path.parent / REJECTED
        folder.mkdir(exist_ok=True)
        path = folder / f"{batch.key}.json"
        path.write_text(json.dumps({"reason": reason, "path": batch.path, "body": json.loads(batch.body)}, indent=1))
        self.finish(batch)
        return path

    @property
    def empty(self) -> bool:
        """Whether the server has everything."""
        with self._lock:
            return not self._waiting and not self._unfinished

    def close(self) -> None:
        """Delete the journal if it is empty, else leave it to the next process."""
        with self._lock:
            if not self._waiting and not self._unfinished:
                self.path.unlink(missing_ok=True)
            self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            written = os.write(self._file.fileno(), line)
            if written < len(line):
                raise OSError("the disk is full")
        except OSError as error:
            os.ftruncate(self._file.fileno(), before)  # half a line would spoil the next one
            raise RegistryError(
                "registry.spool-unwritable",
                field=str(self.path),
                problem=f"points cannot be kept until the registry takes them ({error})",
                remedy="free some space, or set CROSSOVER_SCRATCH to another folder",
            ) from error


def open_journal(folder: Path) -> Journal:
    """A new journal in a spool.

    Raises:
        RegistryError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Journal(folder / f"{uuid.uuid4().hex}.jsonl")
    except OSError as error:
        raise RegistryError(
            "registry.spool-unwritable",
            field=str(folder),
            problem=f"cannot be written ({error.strerror})",
            remedy="set CROSSOVER_SCRATCH to a folder that you may write to",
        ) from error


def left_behind(folder: Path) -> Iterator[Journal]:
    """The journals of processes that have ended, oldest first; those that are being written are passed over."""
    for path in sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime):
        try:
            yield Journal(path)
        except OSError:
            continue
