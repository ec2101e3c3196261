"""Writes checkpoints in the background: one writer thread, one job at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class BackgroundWriter:
    """Runs jobs one after another on a background thread, and their callbacks on the caller's thread.

    `submit` waits for the previous job. A job's exception is raised by the next `submit`, `poll` or `wait`, so that a
    run stops at its next step when the disk is full.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-writer")
        self._job: Future[Callable[[], None]] | None = None

    def submit(self, job: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Run a job in the background.

        Args:
            job: runs on the background thread.
            then: callback for its result; runs on the caller's thread at a later `poll` or `wait`.
        """
        self.wait()

        def work() -> Callable[[], None]:
            result = job()
            return lambda: then(result)

        self._job = self._pool.submit(work)

    def poll(self) -> None:
        """Run the callback of the job if it is done."""
        if self._job is not None and self._job.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the job and run its callback."""
        if self._job is not None:
            job, self._job = self._job, None
            job.result()()

    def close(self) -> None:
        """Let the current job finish and discard its result."""
        self._pool.shutdown(wait=True)
