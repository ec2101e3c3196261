"""Which process of a group is missing when a collective fails or waits too long.

Every process tells the rendezvous store the step at whose exchange it has arrived. Gloo raises an error when a process
ends or the time-out passes; NCCL's watchdog ends the process instead, so that a line is printed shortly before.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from crossover.errors import LostProcessError, first_line

_GLOO_ERRORS = ("/gloo/", "caused pair closure")
"""Parts of the texts of gloo, whose errors are plain RuntimeErrors."""
WARNED_AT = 0.95
"""Share of the time-out after which a process that still waits says so."""
ASKED_AFTER = 1.0
"""Seconds between a failure and the question who is missing: a process that is only slower arrives meanwhile."""


class Attendance:
    """Arrivals of the processes at the exchanges of a training.

    Args:
        store: the rendezvous store of the group.
        rank: of this process.
        size: processes in the group.
        timeout: seconds after which a collective fails.
    """

    def __init__(self, store: Any, rank: int, size: int, timeout: float) -> None:  # noqa: ANN401 - torch types its stores nowhere
        self._store, self._rank, self._size, self._timeout = store, rank, size, timeout
        self._step = 0

    @contextmanager
    def exchange(self, step: int | None = None) -> Iterator[None]:
        """Name the missing processes if a collective in the block fails, or does not end.

        Args:
            step: optimizer step, from 0, at whose exchange this process arrives; None for a collective between steps.

        Raises:
            LostProcessError: a collective failed.
        """
        if step is not None:
            self._step = step
            self._store.set(f"crossover/step/{self._rank}", str(step))
        warning = threading.Timer(WARNED_AT * self._timeout, self._warn)
        warning.daemon = True
        if step is not None:
            warning.start()
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and not any(text in str(error) for text in _GLOO_ERRORS):
                raise
            time.sleep(ASKED_AFTER)
            text = first_line(error)
            raise LostProcessError(f"{self._where()} failed: {self._missing()} ({text})") from error
        finally:
            warning.cancel()

    def _warn(self) -> None:
        waited = WARNED_AT * self._timeout / 60
        print(f"{self._where()} has waited for {waited:.3g} minutes: {self._missing()}", file=sys.stderr, flush=True)

    def _where(self) -> str:
        return f"rank {self._rank} of {self._size}: the exchange of step {self._step + 1}"

    def _missing(self) -> str:
        try:
            absent = [str(rank) for rank in range(self._size) if self._last_step(rank) < self._step]
        except RuntimeError:
            return "the rendezvous store does not answer either, so the process or the node that keeps it has ended"
        if not absent:
            return "all ranks had arrived, so one has ended since, or the network between them fails"
        return f"rank {', '.join(absent)} did not arrive: it has ended, or hangs"

    def _last_step(self, rank: int) -> int:
        key = f"crossover/step/{rank}"
        return int(self._store.get(key)) if self._store.check([key]) else -1
