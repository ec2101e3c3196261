"""Objects of any bucket as files to read, in ranges that are tried again where the network breaks."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO, cast

from crossover.errors import StorageError
from crossover.progress import MEBIBYTE
from crossover.settings import Settings, get_settings
from crossover.storage.s3_bucket import Bucket, ObjectInfo
from crossover.storage.s3_connection import connect
from crossover.storage.s3_transfer import read_range


@dataclass(frozen=True)
class BucketFile:
    """An object as a listing saw it."""

    bucket: Bucket
    key: str
    info: ObjectInfo

    @property
    def uri(self) -> str:
        """s3://bucket/key."""
        return f"{self.bucket.uri}/{self.key}"

    def open(self) -> BinaryIO:
        """A stream of this version of the object, which can seek; its memory is one range.

        Its methods raise ChangedError when the object is no longer that version, StorageError when the store fails.
        """
        return cast(BinaryIO, io.BufferedReader(_ObjectStream(self), MEBIBYTE))


def bucket_files(uri: str, settings: Settings | None = None) -> list[BucketFile]:
    """All objects whose URI starts with `uri`, in the order of their keys.

    Args:
        uri: s3://bucket/start of the keys.
        settings: endpoint and credentials; those of the environment by default.

    Raises:
        StorageError: the URI names no bucket, or the store cannot be reached or refuses.
    """
    name, _, prefix = uri.removeprefix("s3://").partition("/")
    if not name:
        raise StorageError("storage.bad-uri", field=uri, problem="names no bucket", remedy="give s3://bucket/prefix")
    bucket = Bucket(connect(settings or get_settings()), f"s3://{name}", name, "")
    return [BucketFile(bucket, key, info) for key, info in sorted(bucket.listing(prefix).items())]


class _ObjectStream(io.RawIOBase):
    """Reads an object range by range; keeps the newest."""

    def __init__(self, file: BucketFile) -> None:
        self._file, self._at, self._start, self._block = file, 0, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.info.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the buffers that are passed here
        if self._at >= self._file.info.size:
            return 0
        if not self._start <= self._at < self._start + len(self._block):
            self._block = b""  # before the next range comes: one at a time
            self._block = read_range(self._file.bucket, self._file.key, self._file.info, self._at)
            self._start = self._at
        within = self._at - self._start
        piece = self._block[within : within + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
