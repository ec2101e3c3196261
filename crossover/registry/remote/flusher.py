"""A thread that sends what is in a spool, so that training never waits for a server."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from crossover.errors import CrossoverError, UnreachableError, UserError
from crossover.registry.remote.http_transport import HttpTransport
from crossover.registry.remote.spool import Batch, Entry, Journal, left_behind, open_journal
from crossover.registry.wire_format import MOST_POINTS

INTERVAL_SECONDS = 0.5
DRAIN_SECONDS = 600.0


class Flusher:
    """Sends the entries of a spool in order, those of dead processes first.

    Args:
        transport: to the server.
        folder: of the spool.
    """

    def __init__(self, transport: HttpTransport, folder: Path) -> None:
        self._transport, self._folder = transport, folder
        self._journal: Journal | None = None
        self._wake, self._stop, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._failure: CrossoverError | None = None
        self._thread: threading.Thread | None = None

    def put(self, entry: Entry) -> None:
        """Keep an entry and return at once.

        Raises:
            CrossoverError: the server refused an entry that was put before, or the spool cannot be written.
        """
        self._raise()
        if self._journal is None:
            self._journal = open_journal(self._folder)
        self._idle.clear()
        self._journal.append(entry)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="registry-flusher", daemon=True)
            self._thread.start()

    def send_left_behind(self) -> None:
        """Send what processes before have left in the spool; what the server refuses is set aside, and shown.

        That is no error of this process: another one may have taken over the run of the one that was killed.

        Raises:
            RegistryError: the server cannot be reached.
        """
        for journal in left_behind(self._folder):
            try:
                while not journal.empty:
                    try:
                        self._send_all(journal)
                    except UnreachableError:
                        raise
                    except UserError as error:
                        print(f"crossover: left by a process before: {error}", file=sys.stderr, flush=True)
            finally:
                journal.close()

    def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until the server has everything.

        Raises:
            CrossoverError: it has not in that time, or refused something; what it has not stays in the spool.
        """
        if self._journal is None:
            return
        until = time.monotonic() + seconds
        self._wake.set()
        while not self._journal.empty and self._failure is None and time.monotonic() < until:
            self._idle.wait(0.05)
        self._raise()
        if not self._journal.empty:
            raise UnreachableError(
                "registry.undelivered",
                field="registry url",
                problem=f"{self._transport.url} has not taken all in {seconds:g} s; the rest is kept in {self._folder}",
                remedy="run again once the registry service answers: what is kept is sent first",
            )

    def close(self, seconds: float = DRAIN_SECONDS) -> None:
        """Send the rest, and end the thread; raises as `drain`."""
        try:
            self.drain(seconds)
        finally:
            self._stop.set()
            self._wake.set()
            if self._thread is not None:
                self._thread.join(timeout=5)
            if self._journal is not None:
                self._journal.close()

    def _run(self) -> None:
        assert self._journal is not None  # noqa: S101 - the thread is started with it
        while not self._stop.is_set():
            self._wake.wait(INTERVAL_SECONDS)
            self._wake.clear()
            try:
                self._send_all(self._journal)
                self._idle.set()
            except UnreachableError:
                continue
            except CrossoverError as error:
                self._failure = self._failure or error
                return

    def _send_all(self, journal: Journal) -> None:
        while (batch := journal.take(MOST_POINTS)) is not None:
            self._send(journal, batch)

    def _send(self, journal: Journal, batch: Batch) -> None:
        def note() -> None:
            text = f"{self._transport.url} does not answer: what is recorded waits in {self._folder}"
            print(f"crossover: {text}", file=sys.stderr, flush=True)

        try:
            self._transport.send("POST", batch.path, batch.body, key=batch.key, stop=self._stop, once=note)
        except UnreachableError:
            raise
        except UserError as error:
            error.add_remedy(f"what was refused is in {journal.reject(batch, str(error))}")
            raise
        journal.finish(batch)

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
