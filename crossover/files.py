"""Files that are complete or absent: atomic writes, digests, canonical JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from crossover.errors import WorkspaceError


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: object) -> str:
    """SHA-256 of the canonical JSON, as `sha256:<64 hex digits>`."""
    return digest_of_content(canonical_json(value).encode())


def digest_of_content(content: bytes) -> str:
    """SHA-256 of bytes, as `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as `sha256:<64 hex digits>`."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file, flush it to disk, and only then give it its name.

    Raises:
        WorkspaceError: the folder is not writable or the disk is full; whatever stood there before still does.
    """
    try:
        replace_file(path, write)
    except OSError as error:
        raise workspace_error(path, error) from error


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """As `write_atomically`, with the operating system's own errors.

    Raises:
        OSError: the folder is not writable or the disk is full.
    """
    with replacing(path) as file:
        write(file)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name, flushed to disk, when the block ends without an exception; otherwise it is gone.

    Raises:
        OSError: the folder is not writable or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: object) -> None:
    """Write indented JSON atomically; refuses NaN."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """Indented JSON with sorted keys, as our files hold it.

    Raises:
        ValueError: for NaN and infinities, which JSON does not have.
    """
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON is any
    """Parse a JSON file.

    Raises:
        WorkspaceError: the file is absent or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WorkspaceError(
            "workspace.missing-file",
            field=str(path),
            problem="the file does not exist",
            remedy="run the step that writes it first",
        ) from error
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            "workspace.unreadable-file",
            field=str(path),
            problem=f"cannot be read as JSON ({error})",
            remedy="delete it and run the step that writes it again",
        ) from error


def verify_files(folder: Path, digests: Mapping[str, str]) -> str | None:
    """A message about the first of the named files that is missing or altered; None when all are as recorded."""
    for name, expected in sorted(digests.items()):
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if digest_of_file(path) != expected:
            return f"{name} does not have the recorded digest"
    return None


def sync_folder(path: Path) -> None:
    """Make the names inside a folder durable (fsync of the directory)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Errors of the operating system in the block as one that says what to do about this place.

    Raises:
        WorkspaceError: it cannot be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise workspace_error(path, error) from error


def workspace_error(path: Path, error: OSError) -> WorkspaceError:
    """Turn an operating system error about the output into one that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WorkspaceError(
            "workspace.full",
            field=str(path),
            problem="the disk is full",
            remedy="free some space and run again: finished work is kept and resumed",
        )
    from crossover.settings import deciding_option

    return WorkspaceError(
        "workspace.unwritable",
        field=str(path),
        problem=f"cannot be written ({error.strerror})",
        remedy="raise the limit on the size of files (ulimit -f) and run again: finished work is kept and resumed"
        if error.errno == errno.EFBIG
        else f"give a folder that you may write to with {deciding_option(path)}",
    )
