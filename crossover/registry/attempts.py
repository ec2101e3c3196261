"""Attempts: which process trains a run, and how long no other may. An attempt is held by a lease with a heartbeat."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from sqlalchemy import Connection, func, select, update

from crossover.errors import CrossoverError, RegistryError, RunHeldError
from crossover.registry import schema as s
from crossover.registry.closed_runs import reopen_run
from crossover.registry.migrations.views_0006 import LEASE_SECONDS
from crossover.registry.process_identity import ProcessIdentity, is_gone
from crossover.registry.registry_records import MetricDef, Point
from crossover.registry.transactions import as_utc
from crossover.registry.write_statements import insert_rows

HEARTBEAT_SECONDS = 20.0
POLL_SECONDS = 5.0
END_REASONS = ("done", "failed", "interrupted")
T = TypeVar("T")


class Attempt(Protocol):
    """One process that trains a run, from its start or resumption to its end."""

    n: int

    def record(self, metric: MetricDef, points: Sequence[Point]) -> None:
        """Record a batch of points; a step that is trained again after a roll-back has its newest value.

        Raises:
            RegistryError: `registry.attempt-ended` when another attempt has taken its place.
        """

    def heartbeat(self) -> None:
        """Extend the lease; raises as `record`."""

    def finish(self, reason: str) -> None:
        """End the attempt with a reason, which becomes the run's status.

        An attempt that has ended already, because a later one began, changes nothing.

        Args:
            reason: one of END_REASONS.
        """


def begin_attempt(
    connection: Connection,
    run: int,
    digest: str,
    *,
    started_step: int,
    process: ProcessIdentity,
    gone: str,
    now: datetime,
) -> int:
    """Insert a run's next attempt, unless another process holds the run.

    Args:
        connection: within a transaction.
        run: id of the run.
        digest: of the run.
        started_step: optimizer step that the attempt resumes from.
        process: that will train.
        gone: a holder that is known to have ended, whose lease does not count; empty for none.
        now: the current time, in UTC.

    Raises:
        RunHeldError: an attempt of another process has had a heartbeat within the lease.
    """
    attempt = s.AttemptRow
    reopen_run(connection, run)
    unended = (attempt.run_id == run, attempt.ended_at.is_(None))
    for held in connection.execute(select(attempt.__table__).where(*unended)).all():
        seen = as_utc(held.heartbeat_at or held.started_at)
        ours = held.holder in (process.holder, gone) or held.holder is None
        if not ours and now - seen < timedelta(seconds=LEASE_SECONDS):
            raise RunHeldError(
                "registry.run-held",
                field="run",
                problem=f"{digest} is trained by process {held.pid} on {held.host}, last seen {seen.isoformat()}",
                remedy="wait for that process, or stop it; a killed one is lost after two minutes",
                host=held.host,
                pid=held.pid,
                holder=held.holder,
                seen=seen.isoformat(),
            )
    another = attempt.holder.is_not(None) & (attempt.holder != process.holder)
    for whose, reason in ((another, "lost"), (~another, "interrupted")):
        connection.execute(update(attempt).where(*unended, whose).values(ended_at=now, end_reason=reason))
    n = int(connection.scalar(select(func.max(attempt.n)).where(attempt.run_id == run)) or 0) + 1
    row = {"run_id": run, "n": n, "started_step": started_step, **vars(process), "started_at": now, "heartbeat_at": now}
    insert_rows(connection, attempt.__table__, [row])
    connection.execute(update(s.RunRow).where(s.RunRow.id == run).values(status="running"))
    return n


def touch_attempt(connection: Connection, run: int, n: int, now: datetime) -> None:
    """Extend the lease of an attempt.

    Raises:
        RegistryError: there is no such attempt, or it has ended.
    """
    attempt = s.AttemptRow
    where = (attempt.run_id == run, attempt.n == n)
    touched = connection.execute(update(attempt).where(*where, attempt.ended_at.is_(None)).values(heartbeat_at=now))
    if touched.rowcount:
        return
    reason = connection.scalar(select(attempt.end_reason).where(*where))
    if reason is None:
        raise RegistryError(
            "registry.unknown-attempt",
            field="attempt",
            problem=f"the run has no attempt {n}",
            remedy="start an attempt first",
        )
    raise RegistryError(
        "registry.attempt-ended",
        field="attempt",
        problem=f"attempt {n} has ended ({reason}): another process may train the run now",
        remedy="start another attempt",
    )


def end_attempt(connection: Connection, run: int, n: int, reason: str, now: datetime) -> None:
    """End an attempt, and set the run's status; see `Attempt.finish`."""
    if reason not in END_REASONS:
        raise ValueError(f"reason must be one of {END_REASONS}, not {reason!r}")
    attempt = s.AttemptRow
    where = (attempt.run_id == run, attempt.n == n, attempt.ended_at.is_(None))
    if connection.execute(update(attempt).where(*where).values(ended_at=now, end_reason=reason)).rowcount:
        connection.execute(update(s.RunRow).where(s.RunRow.id == run).values(status=reason))


def start_when_free(start: Callable[[str], T], *, sleep: Callable[[float], object] = time.sleep) -> T:
    """Start an attempt; when another process holds the run, wait until it is gone or its lease is over.

    Args:
        start: starts the attempt; takes the holder that is known to be gone, or an empty string.
        sleep: waits for so many seconds.

    Raises:
        RunHeldError: the other process is alive: it has had another heartbeat in the meantime.
    """
    first: RunHeldError | None = None
    while True:
        try:
            return start("")
        except RunHeldError as held:
            if is_gone(held.holder):
                return start(held.holder)
            if first is not None and held.seen != first.seen:
                raise
            if first is None:
                text = f"{held.problem}: waiting {LEASE_SECONDS} seconds at most for a sign of life"
                print(f"crossover: {text}", file=sys.stderr, flush=True)
            first = held
        sleep(POLL_SECONDS)


@contextmanager
def kept_alive(attempt: Attempt, seconds: float = HEARTBEAT_SECONDS) -> Iterator[None]:
    """Send heartbeats of an attempt, in a thread, while the block runs; a failed one is shown and tried again."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(seconds):
            try:
                attempt.heartbeat()
            except CrossoverError as error:
                print(f"crossover: heartbeat of attempt {attempt.n}: {error}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
