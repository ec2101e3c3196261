"""The errors that both stores raise."""

from __future__ import annotations

import errno
from pathlib import Path

from crossover.errors import StorageError
from crossover.settings import deciding_option


def missing_error(where: str) -> StorageError:
    """Nothing is published under this name."""
    return StorageError(
        "storage.missing",
        field=where,
        problem="nothing is published there",
        remedy="run the stage that writes it first",
    )


def altered_error(where: str, problem: str) -> StorageError:
    """An artifact is not what its digests promise."""
    return StorageError(
        "storage.altered", field=where, problem=problem, remedy="delete it and run the stage that writes it again"
    )


def other_digest_error(where: str, actual: str, expected: str) -> StorageError:
    """A complete artifact, but another version than the one requested."""
    return altered_error(where, f"is {actual[:19]}…, not {expected[:19]}…")


def conflict_error(where: str) -> StorageError:
    """Another writer was faster."""
    return StorageError(
        "storage.conflict",
        field=where,
        problem="another process changed it meanwhile",
        remedy="run again, and let one process at a time write it",
    )


def disk_error(path: Path, error: OSError) -> StorageError:
    """An error of the operating system about a local path, with what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            "storage.full",
            field=str(path),
            problem="the disk is full",
            remedy="free some space and run again: finished work is kept and resumed",
        )
    if error.errno in (errno.ENOENT, errno.EIO):
        return StorageError(
            "storage.unreachable",
            field=str(path),
            problem=f"cannot be read ({error.strerror})",
            remedy="check the folder and its disk, and run again",
        )
    return StorageError(
        "storage.unwritable",
        field=str(path),
        problem=f"cannot be used ({error.strerror})",
        remedy="raise the limit on the size of files (ulimit -f) and run again: finished work is kept and resumed"
        if error.errno == errno.EFBIG
        else f"give a folder that you may write to with {deciding_option(path)}",
    )
