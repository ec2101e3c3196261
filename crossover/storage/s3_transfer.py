"""Many files to and from a bucket at once: in parts, in parallel, with progress, retried where a stream breaks."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from minio.error import MinioException
from urllib3.exceptions import HTTPError

from crossover.errors import StorageError
from crossover.progress import MEBIBYTE, byte_meter
from crossover.storage.s3_bucket import Bucket, ObjectInfo, Replaces, is_absent, is_precondition
from crossover.storage.s3_connection import WORKERS

PART_BYTES = 16 << 20
"""Files above it travel in parts of it."""

PROGRESS_BYTES = 64 * MEBIBYTE
"""Transfers above it show their progress."""

MOST_PARTS = 10_000
"""S3's limit of parts in one object."""

STREAM_ATTEMPTS = 4
Item = TypeVar("Item")
Result = TypeVar("Result")


DIGEST = "sha256"
"""The field of an object's metadata that holds its digest."""


class ChangedError(Exception):
    """An object was replaced or deleted while it was being downloaded."""


@dataclass(frozen=True)
class Upload:
    """A file on its way up: from which path, to which key, with which SHA-256 kept beside it."""

    path: Path
    key: str
    digest: str


@dataclass(frozen=True)
class Download:
    """A file on its way down: from which object, as a listing saw it, to which path."""

    key: str
    info: ObjectInfo
    path: Path


@dataclass(frozen=True)
class _Part:
    """A range of a file; `upload` names the multipart upload that it belongs to, if its file has several."""

    file: Upload
    offset: int
    length: int
    number: int
    upload: str | None


def upload_all(bucket: Bucket, files: Sequence[Upload], replaces: Replaces, label: str) -> list[bool]:
    """Upload files.

    Args:
        bucket: where to.
        files: what to upload.
        replaces: the condition on each key.
        label: the name that the progress shows.

    Returns:
        For each file whether it was written; False where its condition did not hold.

    Raises:
        StorageError: the store fails.
        OSError: a file cannot be read.
    """
    conditions = {file: bucket.condition(file.key, replaces) for file in files}
    parts: dict[Upload, list[_Part]] = {}

    def send(part: _Part) -> str | None:
        with part.file.path.open("rb") as stream:
            data = os.pread(stream.fileno(), part.length, part.offset)
        if part.upload is None:
            etag = bucket.put(part.file.key, data, conditions[part.file] or {}, {DIGEST: part.file.digest})
        else:
            etag = bucket.put_part(part.file.key, data, part.upload, part.number)
        advance(len(data))
        return etag

    try:
        for file in files:
            if conditions[file] is not None:
                parts[file] = _parts(bucket, file)
        tasks = [part for of_file in parts.values() for part in of_file]
        with byte_meter("upload", label, sum(part.length for part in tasks), least=PROGRESS_BYTES) as advance:
            etags = dict(zip(tasks, in_parallel(send, tasks), strict=True))
        return [_finish(bucket, parts.get(file, []), etags, conditions[file] or {}) for file in files]
    except BaseException:
        for first, *_ in parts.values():
            if first.upload is not None:
                with suppress(StorageError):  # the store discards it later; the first error is the one that matters
                    bucket.abort_upload(first.file.key, first.upload)
        raise


def _parts(bucket: Bucket, file: Upload) -> list[_Part]:
    """The parts of a file; starts its multipart upload if there are several."""
    size = file.path.stat().st_size
    length = max(PART_BYTES, -(-size // MOST_PARTS))
    upload = bucket.start_upload(file.key, {DIGEST: file.digest}) if size > length else None
    starts = range(0, max(1, size), length)
    return [_Part(file, at, min(length, size - at), number, upload) for number, at in enumerate(starts, start=1)]


def _finish(
    bucket: Bucket, parts: list[_Part], etags: Mapping[_Part, str | None], condition: Mapping[str, str]
) -> bool:
    """Make an object of a file's parts; returns whether the file is written."""
    sent = [etag for part in parts if (etag := etags[part]) is not None]
    if not sent or parts[0].upload is None:
        return bool(sent)
    if bucket.complete_upload(parts[0].file.key, parts[0].upload, sent, condition):
        return True
    bucket.abort_upload(parts[0].file.key, parts[0].upload)
    return False


def download_all(bucket: Bucket, files: Sequence[Download], label: str) -> None:
    """Download files, each in ranges of one version of its object.

    Raises:
        ChangedError: an object was replaced or deleted meanwhile.
        StorageError: the store fails.
        OSError: a file cannot be written.
    """
    for file in files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.touch()
    ranges = [(file, start) for file in files for start in range(0, file.info.size, PART_BYTES)]
    with byte_meter("download", label, sum(file.info.size for file in files), least=PROGRESS_BYTES) as advance:
        in_parallel(lambda task: advance(_download_range(bucket, *task)), ranges)


def read_range(bucket: Bucket, key: str, info: ObjectInfo, start: int) -> bytes:
    """Bytes of one version of an object from `start` on, at most `PART_BYTES`. A stream that breaks is read again.

    Raises:
        ChangedError: the object was replaced or deleted since it was listed.
        StorageError: the store fails.
    """
    content = bytearray()
    length = min(PART_BYTES, info.size - start)

    def read_rest() -> int:
        """Goes on where the stream before broke."""
        left = length - len(content)
        for chunk in _chunks(bucket, key, info, start + len(content), left):
            content.extend(chunk)
        return len(content)

    _persistently(bucket, key, read_rest, length)
    return bytes(content)


def _download_range(bucket: Bucket, file: Download, start: int) -> int:
    """Write one range into its place; returns its length."""
    length = min(PART_BYTES, file.info.size - start)

    def copy() -> int:
        with file.path.open("r+b") as target:
            target.seek(start)
            return sum(target.write(chunk) for chunk in _chunks(bucket, file.key, file.info, start, length))

    _persistently(bucket, file.key, copy, length)
    return length


def _persistently(bucket: Bucket, key: str, read: Callable[[], int], length: int) -> None:
    """Call `read` until it has all bytes of a range: again where a stream breaks."""
    broken = ""
    for attempt in range(STREAM_ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0, 2**attempt))  # noqa: S311 - jitter, not a secret
        try:
            if read() == length:
                return
        except HTTPError as error:
            broken = type(error).__name__
        except MinioException as error:
            if is_absent(error) or is_precondition(error):
                raise ChangedError(key) from error
            with bucket.errors():
                raise
        else:
            broken = "it ended early"
    raise bucket.unreachable(f"the download of {key} broke {STREAM_ATTEMPTS} times, at last: {broken}")


def _chunks(bucket: Bucket, key: str, info: ObjectInfo, start: int, length: int) -> Iterator[bytes]:
    """The bytes of one range as they come."""
    response = bucket.open_range(key, start, length, info.etag)
    try:
        yield from response.stream(MEBIBYTE)
    finally:
        response.close()
        response.release_conn()


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results of `work` on each item, in order; the first error cancels what has not begun."""
    with ThreadPoolExecutor(WORKERS) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
