"""How a process reports a failure: one line and an exit code to people, an event to a parent process.

Exit codes: 0 done, 1 failed, 2 wrong input or a run that diverged, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crossover.errors import CrossoverError, UserError, WorkspaceError, run_of
from crossover.extras import install_hint
from crossover.termination import EXIT_CODE, MESSAGE, Terminated

_OUTPUT_ERRORS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
        *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    }
)
"""What the machine's disks, quotas and permissions refuse; other OSErrors are bugs of ours."""


def exit_code_of(call: Callable[[], int]) -> int:
    """Run a command and turn what it raises into one line on standard error and an exit code."""
    try:
        code = call()
        sys.stdout.flush()
        return code
    except Terminated:
        return _fail(MESSAGE, EXIT_CODE)
    except KeyboardInterrupt:
        return _fail("interrupted; run the same command again to go on", 130)
    except BrokenPipeError:
        _discard_output()
        return 0
    except Exception as error:
        failure = _user_failure(error)
        if failure is None:
            raise
        return _fail(*failure)


@contextmanager
def exiting_on_failure() -> Iterator[None]:
    """Turn what the block raises for users into one line on standard error, and exit without a traceback.

    Raises:
        SystemExit: with the exit code; other exceptions pass.
    """
    try:
        yield
    except Terminated as error:
        raise SystemExit(_fail(MESSAGE, EXIT_CODE)) from error
    except Exception as error:
        failure = _user_failure(error)
        if failure is None:
            raise
        raise SystemExit(_fail(*failure)) from error


def _user_failure(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code of an exception that users can act on; None for a bug of ours."""
    if isinstance(error, ModuleNotFoundError):
        hint = install_hint(error.name or "")
        return (hint, UserError.exit_code) if hint else None
    known = output_error(error) if isinstance(error, OSError) else error
    return (str(known), known.exit_code) if isinstance(known, CrossoverError) else None


def _fail(line: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:  # what could not be written is the failure being reported
        _discard_output()
    print(f"crossover: {line}", file=sys.stderr)
    return code


def _discard_output() -> None:
    """Send the rest of standard output nowhere, so that the interpreter's last flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def output_error(error: OSError) -> UserError | None:
    """An operating system error about output as one that says what to do; None for an error of another kind."""
    from crossover.files import workspace_error

    if error.errno == errno.ENOENT and "temporary directory" in str(error):  # of `tempfile`, before it writes any
        return WorkspaceError(
            "workspace.no-temporary-folder",
            field="TMPDIR",
            problem="no folder for temporary files can be written",
            remedy="free some space, or set TMPDIR to a folder that you may write to",
        )
    return workspace_error(Path(error.filename or "output"), error) if error.errno in _OUTPUT_ERRORS else None


@contextmanager
def reporting(stage: str) -> Iterator[None]:
    """Emit an event for a parent process when the block fails: the stage, its run, the message, the exit code.

    Args:
        stage: of the pipeline, such as `pretraining`.
    """
    try:
        yield
    except Exception as error:
        failure = _user_failure(error) or (f"{type(error).__name__}: {error}", CrossoverError.exit_code)
        from crossover.progress import emit, events_wanted

        if events_wanted():
            name = " ".join(filter(None, (stage, run_of(error))))
            emit("error", stage=name, message=failure[0], exit_code=failure[1])
        raise
