"""The files of a source, on this machine or in a bucket, behind one interface."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from crossover.data.sources.glob_patterns import MAGIC, key_matches, local_files
from crossover.data.sources.packed_files import kind_of
from crossover.errors import DataError

if TYPE_CHECKING:
    from crossover.storage.bucket_files import BucketFile


class SourceFile(Protocol):
    """A file as it was found."""

    @property
    def name(self) -> str:
        """Of its documents."""

    @property
    def place(self) -> str:
        """Where it is, for messages."""

    @property
    def size(self) -> int:
        """Bytes as stored."""

    @property
    def version(self) -> str:
        """Changes with its content."""

    def open(self) -> BinaryIO:
        """Its bytes as stored; the stream can seek."""

    def changed(self) -> bool:
        """Whether it is known to be another file by now."""


class LocalFile:
    """A file of this machine.

    Args:
        path: where it is.
        name: of its documents.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name, self.place = path, name, _printable(_utf8(path))
        self._seen = self._status()
        self.size, self.version = self._seen[0], str(self._seen[1])

    def open(self) -> BinaryIO:
        """Its bytes."""
        return self.path.open("rb")

    def changed(self) -> bool:
        """Whether its size or its time of change is another than when it was found."""
        return self._status() != self._seen

    def _status(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class RemoteFile:
    """An object of a bucket; a changed one cannot be read on, so that it need not be asked for."""

    name: str
    place: str
    size: int
    opener: BucketFile

    @property
    def version(self) -> str:
        """Its ETag."""
        return self.opener.info.etag

    def open(self) -> BinaryIO:
        """Its bytes, in ranges."""
        return self.opener.open()

    def changed(self) -> bool:
        """Every range is asked for with the version that was listed."""
        return False


def matching_files(pattern: str, endings: tuple[str, ...] = ()) -> list[SourceFile]:
    """Files that a glob pattern, a name or a folder means, in the order of their names.

    Args:
        pattern: a path, or s3://bucket/key; either may have `*`, `**`, `?` and `[…]`.
        endings: of names, without `.gz`, `.xz`, `.zst`; those that a folder's files must have. None: all of them.

    Raises:
        DataError: none does, or a folder cannot be listed.
        StorageError: the bucket cannot be listed.
    """
    try:
        files = _objects(pattern) if pattern.startswith("s3://") else _files(pattern)
    except OSError as error:
        raise DataError(
            "data.unlistable",
            field="data.source",
            problem=f"{pattern!r} cannot be listed ({error})",
            remedy="check the folder's permissions, or name fewer folders",
        ) from error
    if endings and len(files) > 1 and (not MAGIC.search(pattern) or os.path.exists(os.path.expanduser(pattern))):
        files = [file for file in files if kind_of(file.name).startswith(endings)]
    if not files:
        raise DataError(
            "data.missing",
            field="data.source",
            problem=f"{pattern!r} matches no file",
            remedy="check the path; relative paths are relative to the current folder",
        )
    return files


def _files(pattern: str) -> list[SourceFile]:
    return [LocalFile(path, _utf8(path)) for path in local_files(pattern)]


def _utf8(path: Path) -> str:
    """A path as text that can be written anywhere."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _printable(text: str) -> str:
    """A text for one line of a terminal or a log."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _objects(pattern: str) -> list[SourceFile]:
    """The objects that a pattern, a key or a prefix means."""
    from crossover.storage.bucket_files import bucket_files

    magic = MAGIC.search(pattern)
    found = bucket_files(pattern[: magic.start()] if magic else pattern)
    place, folder = pattern.removeprefix("s3://").partition("/")[2], pattern.rstrip("/") + "/"
    chosen = [file for file in found if key_matches(file.key, place)]
    if not chosen:
        chosen = [file for file in found if file.uri.startswith(folder) and not _hidden(file.uri[len(folder) :])]
    return [RemoteFile(file.uri, file.uri, file.info.size, file) for file in chosen]
