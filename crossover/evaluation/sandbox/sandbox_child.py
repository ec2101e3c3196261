"""The sandboxed process: reads one program, confines itself, runs the program, and reports.

Started by the runner as `python -s -S -P -B sandbox_child.py DESCRIPTOR`, the request on standard input. It reports on
DESCRIPTOR: `READY` once confined; then either the token of the request, or one line on why the program failed.

The token proves that the program ran to its end, and has two halves. The first half is a variable of `_run`, written by
the line after the program. The second half is in a buffer of the C library since before the program started, and is
written when the interpreter exits normally. Ending early therefore never counts as success: `sys.exit` ends in `_run`,
and `os._exit` writes neither half. A deliberately deceptive program can still forge the token, since both halves are
in its own process: it can walk up the frames to `_run` for the first, and recover ctypes (hidden, not unloaded) to call
libc's `exit` for the second.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crossover.evaluation.sandbox import confine_process

READY = b"+"
FAILED, OUT_OF_MEMORY = 1, 2
_DETAIL_CHARACTERS = 500


def _prepare() -> tuple[str, int, bytes]:
    """Confine this process.

    Returns:
        The program, the file descriptor of the report, and the first half of the token.
    """
    report = int(sys.argv[1])
    with open(0, "rb", closefd=False) as stdin:
        request = marshal.loads(stdin.read())  # noqa: S302 - written by the runner
    parent, token, code, seccomp, memory_bytes, cpu_seconds = request
    confine_process.die_with(parent)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    half = len(token) // 2
    confine_process.write_at_exit(report, token[half:])
    sys.argv = [""]
    os.environ.clear()
    confine_process.confine(seccomp, memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)
    del sys.modules["confine_process"]
    sys.modules.update({"ctypes": None, "_ctypes": None})  # type: ignore[dict-item]  # None: cannot be imported
    os.write(report, READY)
    return code, report, token[:half]


def _run(code: str, report: int, token: bytes) -> None:
    # taken before the program can replace them
    write, leave = os.write, os._exit
    program = type(sys)("__main__")
    sys.modules["__main__"] = program
    try:
        code_object = compile(code, "<program>", "exec", dont_inherit=True)
        exec(code_object, program.__dict__)  # noqa: S102 - this process exists for it
        write(report, token)
    except BaseException as error:
        status = OUT_OF_MEMORY if isinstance(error, MemoryError) else FAILED
        try:
            # may run code of the program, which may raise
            line = f"{type(error).__name__}: {error}".strip(": \n")[:_DETAIL_CHARACTERS]
            write(report, line.encode("utf-8", "replace"))
        finally:
            leave(status)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import confine_process  # type: ignore[import-not-found, no-redef]  # beside this file in the child

    del sys.path[0]
    _run(*_prepare())
