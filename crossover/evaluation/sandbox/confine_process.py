"""Confines the calling process irrevocably: it keeps only what a generated program needs.

Imported by the child process under the bare name `confine_process`, without its package; keep the imports light.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_RULE_PATH_BENEATH = 1
_LANDLOCK_READ_FILE, _LANDLOCK_READ_DIR = 1 << 2, 1 << 3
_STACK_BYTES = 8 << 20
_OPEN_FILES = 64


class _Libc:
    """C library functions that Python does not expose; each raises OSError."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)

    def call(self, name: str, *arguments: int | bytes | None) -> int:
        """Call a function that returns -1 on error; integers are passed as unsigned long."""
        converted = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
        result = int(self._library[name](*converted))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}{arguments[:1]}: {os.strerror(number)}")
        return result

    def store(self, descriptor: int, data: bytes) -> None:
        """Put data into the buffer of a new C stream, which is flushed when the process ends by `exit`."""
        self._library.fdopen.restype = ctypes.c_void_p
        stream = ctypes.c_void_p(self._library.fdopen(descriptor, b"w"))
        if not stream or self._library.fwrite(data, 1, len(data), stream) != len(data):
            raise OSError(f"cannot open a stream on the descriptor {descriptor}")


def landlock_abi() -> int:
    """The kernel's Landlock ABI version; 0 where Landlock is missing or disabled."""
    try:
        return _Libc().call("syscall", _LANDLOCK_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def die_with(parent: int) -> None:
    """Make the kernel kill this process when its parent dies.

    Args:
        parent: id of the parent process.

    Raises:
        ProcessLookupError: the parent has ended already.
    """
    _Libc().call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError("the parent has ended")


def write_at_exit(descriptor: int, data: bytes) -> None:
    """Write data when the process ends by libc's `exit`, but not when `os._exit` or a signal ends it.

    The data is in the memory of the C library, where no Python object refers to it.
    """
    _Libc().store(descriptor, data)


def confine(seccomp: bytes, *, memory_bytes: int, cpu_seconds: int) -> None:
    """Confine this process irrevocably.

    Args:
        seccomp: the filter, an array of `struct sock_filter`.
        memory_bytes: limit of the address space.
        cpu_seconds: CPU time after which the kernel kills the process.

    Raises:
        OSError: the kernel refused; the program must not be run.
    """
    libc = _Libc()
    libc.call("capset", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24))
    libc.call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _restrict_reading(libc)
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_STACK, _STACK_BYTES),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        _limit(kind, value)
    # the program can catch the signal at the soft limit, but not the one at the hard limit
    _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1)
    instructions = ctypes.create_string_buffer(seccomp, len(seccomp))
    program = struct.pack("@HP", len(seccomp) // 8, ctypes.addressof(instructions))
    libc.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0)


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a resource limit, or keep the current one where it is lower."""
    current = resource.getrlimit(kind)[1]
    ceiling = hard if hard is not None else soft
    if current != resource.RLIM_INFINITY:
        soft, ceiling = min(soft, current), min(ceiling, current)
    resource.setrlimit(kind, (soft, ceiling))


def _readable() -> list[str]:
    """Paths that stay readable: what importing the standard library needs, and the empty working folder."""
    own = [os.path.join(sys.base_prefix, name) for name in ("lib", "lib64")]
    libraries = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"]
    return [*own, *libraries, "/usr/share/zoneinfo", "."]


def _restrict_reading(libc: _Libc) -> None:
    abi = landlock_abi()
    if abi == 0:
        return
    file_rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
    rights = [(1 << file_rights) - 1]
    if abi >= 4:
        rights.append(0b11)  # TCP bind and connect
    if abi >= 6:
        rights.append(0b11)  # abstract Unix sockets and signals, of processes outside
    attributes = struct.pack(f"={len(rights)}Q", *rights)
    ruleset = libc.call("syscall", _LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    for path in _readable():
        try:
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        allowed = _LANDLOCK_READ_FILE | (_LANDLOCK_READ_DIR if os.path.isdir(path) else 0)
        rule = struct.pack("=Qi", allowed, beneath)
        libc.call("syscall", _LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
        os.close(beneath)
    libc.call("syscall", _LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
