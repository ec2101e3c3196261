"""SIGTERM: the process cleans up and exits with code 143 within ten seconds, also as PID 1 and during start-up.

Without a handler the kernel ignores SIGTERM for PID 1, which every container's command is. The handler raises
`Terminated` in the main thread; training defers that to the end of a step, so that it can save a resume point. A thread
ends the process when this takes too long: a step or an upload may, and a library may swallow the exception.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 128 + signal.SIGTERM
EXIT_SECONDS = 8.5
MESSAGE = "terminated; run the same command again to go on"


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


class _State:
    requested = False
    deferred = False


def termination_requested() -> bool:
    """Whether SIGTERM arrived; code that defers it must then raise `Terminated`."""
    return _State.requested


@contextmanager
def terminable(*, interrupts: bool = False) -> Iterator[None]:
    """Handle SIGTERM within the block; outside of the main thread, where Python handles no signals, do nothing.

    Args:
        interrupts: handle SIGINT alike, without the deadline: a KeyboardInterrupt that arrives in a finalizer or a
            callback is lost, a request for termination is not.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    handled = [signal.SIGTERM, signal.SIGINT] if interrupts else [signal.SIGTERM]
    previous = {number: signal.signal(number, _handle) for number in handled}
    previous_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(read_end,), name="termination", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(write_end)
        _State.requested = False


@contextmanager
def deferring_termination() -> Iterator[None]:
    """Within the block SIGTERM only sets `termination_requested`.

    Raises:
        Terminated: SIGTERM arrived before or within the block.
    """
    before, _State.deferred = _State.deferred, True
    try:
        yield
    finally:
        _State.deferred = before
    if _State.requested and not before:
        raise Terminated


def _handle(_number: int, _frame: object) -> None:
    _State.requested = True
    if not _State.deferred:
        raise Terminated


def _end_in_time(read_end: int) -> None:
    """Wait for the number of a signal on a pipe; after SIGTERM end the process at the deadline."""
    number = os.read(read_end, 1)
    while number and number[0] != signal.SIGTERM:
        number = os.read(read_end, 1)
    if number:
        time.sleep(EXIT_SECONDS)
        os.write(2, f"crossover: {MESSAGE}\n".encode())
        os._exit(EXIT_CODE)
    os.close(read_end)
