"""Saves checkpoints beside the training: one writer thread, one save in flight."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class BackgroundWriter:
    """Runs one job after another on a thread of its own; what follows a job runs on the caller's thread.

    `submit` waits for the job before it. A job's exception is raised by the next `submit`, `poll` or `wait`, so a run
    whose disk is full stops at its next step.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-writer")
        self._job: Future[Callable[[], None]] | None = None

    def submit(self, job: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Run `job` on the thread, and `then`, with what it returns, on this one at a later `poll` or `wait`."""
        self.wait()

        def work() -> Callable[[], None]:
            result = job()
            return lambda: then(result)

        self._job = self._pool.submit(work)

    def poll(self) -> None:
        """Follow up on the job if it is done."""
        if self._job is not None and self._job.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the job and follow up on it."""
        if self._job is not None:
            job, self._job = self._job, None
            job.result()()

    def close(self) -> None:
        """Let the job in flight finish; its outcome is not looked at."""
        self._pool.shutdown(wait=True)
