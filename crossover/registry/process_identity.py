"""Which process holds a run, so that another on the same machine can tell that it is gone."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessIdentity:
    """A process among all processes of all machines."""

    host: str
    pid: int
    holder: str
    """Boot, PID namespace, pid and start time: no later process has it."""


def this_process() -> ProcessIdentity:
    """The process that asks."""
    host, pid = socket.gethostname(), os.getpid()
    return ProcessIdentity(host, pid, f"{_machine(host)}/{pid}/{_started(pid)}")


def is_gone(holder: str | None) -> bool:
    """Whether a process is known to have ended; False of a process on another machine or in another container."""
    try:
        machine, pid, started = (holder or "").rsplit("/", 2)
    except ValueError:
        return False
    return machine == _machine(socket.gethostname()) and _started(int(pid)) != started


def _machine(host: str) -> str:
    """The boot of this machine and the PID namespace; the host's name where the system has no /proc."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return host


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty when there is none, `running` without /proc."""
    try:
        text = (_PROC / str(pid) / "stat").read_text("ascii", errors="replace")
        fields = text.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]  # the name before may hold blanks
    except FileNotFoundError:
        if _PROC.joinpath("self").exists():
            return ""
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
