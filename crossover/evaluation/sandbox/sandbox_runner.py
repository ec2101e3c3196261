"""The parent's side of the sandbox: starts a confined process per program, limits it, and reads its report."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossover.errors import StudyError
from crossover.evaluation.sandbox import sandbox_child
from crossover.evaluation.sandbox.syscall_filter import seccomp_filter

_MIB = 1 << 20
_STARTUP_SECONDS = 30.0  # to start and confine the interpreter; not counted as the program's time
_POLL_SECONDS = 0.05
_DETAIL_CHARACTERS = 500
_CHUNK_BYTES = 65536

# run once: calls that must be refused, and imports that must work, in a confined process
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
    """Resource limits of one program.

    Args:
        seconds: wall-clock time of the program; its CPU time is limited to slightly more.
        memory_mb: address space, including the interpreter's (about 30 MB).
        output_bytes: largest amount of output.
    """

    seconds: float = 5.0
    memory_mb: int = 512
    output_bytes: int = 65536


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Outcome:
    """Outcome of one program.

    Args:
        status: `passed` if it ran to its end; `failed` if an exception or an exit ended it earlier; `timeout`;
            `memory` if an uncaught MemoryError ended it; `killed` if a signal ended it, or it printed too much.
        detail: last line of the exception, or the reason; empty if it passed. The program controls this text.
    """

    status: Literal["passed", "failed", "timeout", "memory", "killed"]
    detail: str


def run_program(code: str, limits: Limits = DEFAULT_LIMITS) -> Outcome:
    """Run a program as `__main__` in the sandbox.

    A program cannot reach `passed` by exiting, printing or catching; `sandbox_child` documents what deception remains.

    Args:
        code: source of the program, with its tests appended.
        limits: its resource limits.

    Raises:
        StudyError: programs cannot be sandboxed on this machine; nothing was run.
    """
    require_sandbox()
    return _run(code, limits)


@functools.cache
def require_sandbox() -> None:
    """Check once, by running a probe, that programs can be sandboxed on this machine.

    Raises:
        StudyError: they cannot be.
    """
    outcome = _run(_PROBE, Limits(seconds=_STARTUP_SECONDS))
    if outcome.status != "passed":
        raise _unavailable(f"the sandbox did not refuse what it must: {outcome.detail}")


def _unavailable(problem: str) -> StudyError:
    return StudyError(
        "sandbox.unavailable",
        field="evaluation.tasks",
        problem=f"generated programs cannot be sandboxed on this machine ({problem})",
        remedy="drop the tasks that run code, or evaluate on Linux (x86_64 or aarch64) with seccomp",
    )


def _filter() -> bytes:
    if sys.platform != "linux":
        raise _unavailable(f"the operating system is {sys.platform}")
    try:
        return seccomp_filter(platform.machine())
    except KeyError as error:
        raise _unavailable(f"no list of system calls for the architecture {error}") from error


def _run(code: str, limits: Limits) -> Outcome:
    token = secrets.token_bytes(32)
    cpu_seconds = math.ceil(limits.seconds) + 1
    request = marshal.dumps((os.getpid(), token, code, _filter(), limits.memory_mb * _MIB, cpu_seconds))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="crossover-sandbox-"))
        stdin = stack.enter_context(open(os.memfd_create("request"), "w+b"))
        stdin.write(request)
        stdin.seek(0)
        # a socket, since the program could reopen a pipe for reading through /proc
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
                env={"PYTHONHASHSEED": "0"},  # set order must not decide an outcome
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
    """Read a child's output until it ends.

    Returns:
        The outcome if the child must be killed, else None; and what it reported after it was confined.
    """
    received = {output: bytearray(), report: bytearray()}
    deadline = time.monotonic() + _STARTUP_SECONDS
    stopped: Outcome | None = Outcome("timeout", f"ran longer than {limits.seconds:g} s")
    with selectors.PollSelector() as selector:
        for descriptor in received:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        while (remaining := deadline - time.monotonic()) > 0:
            # polled before reading, so that everything written before the exit is read, even if a process that this
            # one forked in the meantime holds the pipes open
            ended = process.poll() is not None
            if not ended and not selector.get_map():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(remaining)
                continue
            ready = selector.select(0 if ended else min(remaining, _POLL_SECONDS))
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK_BYTES)
                if not data:
                    selector.unregister(key.fd)
                elif key.fd == report and not received[report]:
                    deadline = time.monotonic() + limits.seconds
                received[key.fd] += data
            if max(map(len, received.values())) > limits.output_bytes:
                stopped = Outcome("killed", f"wrote more than {limits.output_bytes} bytes")
                break
            if ended and not ready:
                stopped = None
                break
    if not received[report].startswith(sandbox_child.READY):
        lines = bytes(received[output]).splitlines() or [b"the confined process did not start"]
        raise _unavailable(_printable(lines[-1]))
    return stopped, bytes(received[report][len(sandbox_child.READY) :])


def _printable(text: bytes) -> str:
    """One line without control characters."""
    characters = (c if c.isprintable() else " " for c in text.decode("utf-8", "replace").strip())
    return "".join(characters)[:_DETAIL_CHARACTERS]


def _verdict(exit_code: int, reported: bytes, token: bytes) -> Outcome:
    if exit_code == 0 and secrets.compare_digest(reported, token):
        return Outcome("passed", "")
    if exit_code < 0:
        return Outcome("killed", f"ended by the signal {-exit_code} ({signal.strsignal(-exit_code)})")
    detail = _printable(reported) or f"the process ended before the program did, with exit code {exit_code}"
    return Outcome("memory" if exit_code == sandbox_child.OUT_OF_MEMORY else "failed", detail)
