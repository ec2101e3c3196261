"""The system calls that a sandboxed program may make, and the seccomp filter that refuses all others with EPERM.

A call is listed if CPython needs it to import the standard library and to compute, and if under the conditions below it
cannot change anything outside its own process.
"""

from __future__ import annotations

import struct

# name: number on x86_64, number on aarch64 (None: the machine does not have the call)
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, None),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "dup2": (33, None),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "uname": (63, 160),
    "getcwd": (79, 17),
    "readlink": (89, None),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "time": (201, None),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "getdents64": (217, 61),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "newfstatat": (262, 79),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "dup3": (292, 24),
    "getrandom": (318, 278),
    "statx": (332, 291),
    "faccessat2": (439, 439),
}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF operations on 32-bit words
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000  # this bit in a number is a call of the x32 ABI, which the table does not describe

_PROT_WRITE, _PROT_EXEC, _MAP_ANONYMOUS = 0x2, 0x4, 0x20

Instruction = tuple[int, int, int, int]  # operation, jump if true, jump if false, constant

_PERMIT: Instruction = (_RETURN, 0, 0, _ALLOW)
_REFUSE: Instruction = (_RETURN, 0, 0, _ERRNO | _EPERM)


# AUDIT_ARCH constant that the kernel reports with each call, and the column of the machine in the table
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND and the bit proper to O_TMPFILE: the same on both machines
_WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o2000 | 0o20000000


def _load_argument(argument: int, *, high: bool = False) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4 * high)


def _no_bit_of(argument: int, mask: int) -> list[Instruction]:
    return [_load_argument(argument), (_ANY_BIT, 0, 1, mask), _REFUSE, _PERMIT]


def _one_of(argument: int, *values: int) -> list[Instruction]:
    tests = [step for value in values for step in ((_EQUAL, 0, 1, value), _PERMIT)]
    return [_load_argument(argument), *tests, _REFUSE]


def _null(argument: int) -> list[Instruction]:
    halves = [
        step for high in (False, True) for step in (_load_argument(argument, high=high), (_EQUAL, 1, 0, 0), _REFUSE)
    ]
    return [*halves, _PERMIT]


def _conditional() -> list[tuple[tuple[int | None, int | None], list[Instruction]]]:
    # code is only ever mapped from a file that cannot be written: what extension modules need, and no more
    mapping = [
        _load_argument(2),
        (_ANY_BIT, 1, 0, _PROT_EXEC),
        _PERMIT,
        (_ANY_BIT, 0, 1, _PROT_WRITE),
        _REFUSE,
        *_no_bit_of(3, _MAP_ANONYMOUS),
    ]
    return [
        ((2, None), _no_bit_of(1, _WRITING)),  # open
        ((257, 56), _no_bit_of(2, _WRITING)),  # openat
        ((9, 222), mapping),  # mmap
        ((10, 226), _no_bit_of(2, _PROT_EXEC)),  # mprotect
        # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC; not F_SETOWN and F_SETSIG, which signal other processes
        ((72, 25), _one_of(1, 0, 1, 2, 3, 1030)),  # fcntl
        ((16, 29), _one_of(1, 0x5401, 0x5413, 0x5450, 0x5451)),  # ioctl: TCGETS, TIOCGWINSZ, FIONCLEX, FIOCLEX
        ((302, 261), _null(2)),  # prlimit64 that reads
        ((435, 435), [(_RETURN, 0, 0, _ERRNO | _ENOSYS)]),  # clone3: libc then tries clone, which gives EPERM
    ]


def seccomp_filter(machine: str) -> bytes:
    """The filter as an array of `struct sock_filter`.

    Args:
        machine: the name of the machine, as in `platform.machine()`.

    Raises:
        KeyError: there is no table for this machine.
    """
    audit, column = MACHINES[machine]
    steps: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    rules = [(numbers, [_PERMIT]) for numbers in ALLOWED.values()] + _conditional()
    for numbers, rule in rules:
        number = numbers[column]
        if number is not None:
            steps += [(_EQUAL, 0, len(rule), number), *rule]
    steps.append(_REFUSE)
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
