"""The parent's side: starts a confined process for each program, bounds it, and reads the verdict."""

from __future__ import annotations

import contextlib
import functools
import marshal
import math
import os
import platform
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossover.errors import StudyError
from crossover.evaluation.sandbox import sandbox_child
from crossover.evaluation.sandbox.syscall_filter import seccomp_filter

_MIB = 1 << 20
_STARTUP_SECONDS = 30.0  # to start and confine the interpreter, which is not the program's time
_POLL_SECONDS = 0.05
_DETAIL_CHARACTERS = 500
_CHUNK_BYTES = 65536

# what must be refused, and what must work, in a process that claims to be confined
_PROBE = """
import decimal, os
from _socket import socket
def refused(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return
    raise AssertionError(f"{call.__name__}{arguments} was not refused")
refused(os.open, "probe", os.O_WRONLY | os.O_CREAT)
refused(os.kill, os.getppid(), 0)
refused(os.fork)
refused(os.execv, "/bin/true", ["true"])
refused(socket)
"""


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Args:
        seconds: time by the clock, from the first line of the program; its processor time is bounded a little above.
        memory_mb: address space, the interpreter's own included (about 30 MB).
        output_bytes: what it may print before it is stopped.
    """

    seconds: float = 5.0
    memory_mb: int = 512
    output_bytes: int = 65536


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Outcome:
    """What became of one program.

    Args:
        status: `passed` if it ran to its very end; `failed` if an exception or an exit ended it earlier; `timeout`;
            `memory` if an uncaught MemoryError ended it; `killed` if a signal did, or it printed too much.
        detail: the last line of the exception, or the reason; empty if it passed. Text of the program's making.
    """

    status: Literal["passed", "failed", "timeout", "memory", "killed"]
    detail: str


def run_program(code: str, limits: Limits = DEFAULT_LIMITS) -> Outcome:
    """Runs a program as `__main__` in a sandbox.

    `passed` cannot be had by exiting, printing or catching; `sandbox_child` says what a program bent on deceiving could do.

    Args:
        code: the text of the program, its tests appended.
        limits: what it may use.

    Raises:
        StudyError: programs cannot be confined here; nothing was run.
    """
    require_sandbox()
    return _run(code, limits)


def run_programs(codes: Sequence[str], limits: Limits = DEFAULT_LIMITS, workers: int = 2) -> list[Outcome]:
    """Runs programs, several at a time.

    Args:
        codes: the texts of the programs.
        limits: what each may use.
        workers: how many run at a time.

    Returns:
        The outcomes, in the order of the programs.

    Raises:
        StudyError: programs cannot be confined here; nothing was run.
    """
    require_sandbox()
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda code: _run(code, limits), codes))


@functools.cache
def require_sandbox() -> None:
    """Checks, once, that programs can be confined here, by confining one.

    Raises:
        StudyError: they cannot be.
    """
    outcome = _run(_PROBE, Limits(seconds=_STARTUP_SECONDS))
    if outcome.status != "passed":
        raise _unavailable(f"a confined process was not refused what it must be: {outcome.detail}")


def _unavailable(problem: str) -> StudyError:
    return StudyError(
        "sandbox.unavailable",
        field="evaluation.tasks",
        problem=f"programs of the model cannot be confined here ({problem})",
        remedy="leave out the tasks that run code, or evaluate on Linux (x86_64 or aarch64) with seccomp",
    )


def _filter() -> bytes:
    if sys.platform != "linux":
        raise _unavailable(f"the system is {sys.platform}")
    try:
        return seccomp_filter(platform.machine())
    except KeyError as error:
        raise _unavailable(f"there is no list of system calls for the machine {error}") from error


def _run(code: str, limits: Limits) -> Outcome:
    token = secrets.token_bytes(32)
    cpu_seconds = math.ceil(limits.seconds) + 1
    request = marshal.dumps((os.getpid(), token, code, _filter(), limits.memory_mb * _MIB, cpu_seconds))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="crossover-sandbox-"))
        stdin = stack.enter_context(open(os.memfd_create("request"), "w+b"))
        stdin.write(request)
        stdin.seek(0)
        # not a pipe, which the program might open again for reading, through /proc
        report, report_of_child = socket.socketpair()
        stack.enter_context(report)
        with report_of_child:
            descriptor = str(report_of_child.fileno())
            process = subprocess.Popen(
                [sys.executable, "-s", "-S", "-P", "-B", str(Path(sandbox_child.__file__).resolve()), descriptor],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[report_of_child.fileno()],
                cwd=folder,
                env={"PYTHONHASHSEED": "0"},  # the order of a set must not decide a verdict
                start_new_session=True,
            )
        stack.enter_context(process)
        stack.callback(_kill, process)
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        stopped, reported = _watch(process, process.stdout.fileno(), report.fileno(), limits)
    if stopped is not None:
        return stopped
    return _verdict(process.returncode, reported, token)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _watch(process: subprocess.Popen[bytes], output: int, report: int, limits: Limits) -> tuple[Outcome | None, bytes]:
    """Reads what a child writes until it ends: the outcome if it must be killed, and what it reported once confined."""
    written = {output: bytearray(), report: bytearray()}
    deadline = time.monotonic() + _STARTUP_SECONDS
    stopped: Outcome | None = Outcome("timeout", f"ran longer than {limits.seconds:g} s")
    with selectors.PollSelector() as selector:
        for descriptor in written:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            # asked before reading: what was written before the end is then read, even where another process,
            # forked by this one in the meantime, still holds the pipes open
            ended = process.poll() is not None
            if not ended and not selector.get_map():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(left)
                continue
            ready = selector.select(0 if ended else min(left, _POLL_SECONDS))
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK_BYTES)
                if not data:
                    selector.unregister(key.fd)
                elif key.fd == report and not written[report]:
                    deadline = time.monotonic() + limits.seconds
                written[key.fd] += data
            if max(map(len, written.values())) > limits.output_bytes:
                stopped = Outcome("killed", f"wrote more than {limits.output_bytes} bytes")
                break
            if ended and not ready:
                stopped = None
                break
    if not written[report].startswith(sandbox_child.READY):
        lines = bytes(written[output]).splitlines() or [b"the confined process did not start"]
        raise _unavailable(_printable(lines[-1]))
    return stopped, bytes(written[report][len(sandbox_child.READY) :])


def _printable(text: bytes) -> str:
    """As one line, without characters that could disturb a terminal or a table."""
    characters = (c if c.isprintable() else " " for c in text.decode("utf-8", "replace").strip())
    return "".join(characters)[:_DETAIL_CHARACTERS]


def _verdict(exit_code: int, reported: bytes, token: bytes) -> Outcome:
    if exit_code == 0 and secrets.compare_digest(reported, token):
        return Outcome("passed", "")
    if exit_code < 0:
        return Outcome("killed", f"ended by the signal {-exit_code} ({signal.strsignal(-exit_code)})")
    detail = _printable(reported) or f"the process ended before the program did, with exit code {exit_code}"
    return Outcome("memory" if exit_code == sandbox_child.OUT_OF_MEMORY else "failed", detail)
