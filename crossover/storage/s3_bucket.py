"""Requests to one bucket: single objects, conditional writes, and errors as ours.

Parts of the `minio` client that have no public method for a request's headers are called through its `_execute` family.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from minio import Minio
from minio.commonconfig import CopySource
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error, ServerError
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, MaxRetryError

from crossover.errors import StorageError
from crossover.storage.artifact_store import ANY, AnyVersion

Replaces = str | Literal[AnyVersion.ANY] | None
"""What must stand at a key for a write to happen: an ETag, nothing (None), or anything (ANY)."""

_META = "x-amz-meta-"
_CONDITION_PROBE = ".conditional-writes"
_REFUSED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_FULL = ("XMinioStorageFull", "QuotaExceeded", "StorageFull", "InsufficientStorage")


@dataclass(frozen=True)
class ObjectInfo:
    """What a store tells about an object.

    Args:
        etag: changes with the content.
        size: bytes.
        metadata: our own fields.
        age: seconds since it was written, by the store's clock; 0 where an answer does not give it.
    """

    etag: str
    size: int
    metadata: Mapping[str, str]
    age: float


class Bucket:
    """A prefix of a bucket; keys are relative to it.

    Args:
        client: connection to the object store.
        uri: s3://bucket/prefix, for messages.
        name: the bucket.
        prefix: without slashes at its ends; may be empty.

    Raises:
        StorageError: there is no such bucket, or it cannot be used.
    """

    def __init__(self, client: Minio, uri: str, name: str, prefix: str) -> None:
        self.client, self.uri, self.name, self._prefix = client, uri, name, f"{prefix}/" if prefix else ""
        self._conditional: bool | None = None
        try:
            with self.errors():
                exists = client.bucket_exists(name)
        except ValueError as error:
            raise StorageError(
                "storage.bad-uri", field=uri, problem=str(error), remedy="give s3://bucket/prefix"
            ) from error
        if not exists:
            raise self._no_bucket()

    def key(self, relative: str) -> str:
        """The full key."""
        return self._prefix + relative

    def head(self, relative: str) -> ObjectInfo | None:
        """Facts about an object; None when there is none."""
        with self.errors():
            try:
                return _info(self.client.stat_object(self.name, self.key(relative)).metadata or {})
            except S3Error as error:
                if is_absent(error):
                    return None
                raise

    def read(self, relative: str) -> tuple[bytes, ObjectInfo] | None:
        """A small object; None when there is none."""
        with self.errors():
            try:
                response = self.client._execute("GET", self.name, self.key(relative))
            except S3Error as error:
                if is_absent(error):
                    return None
                raise
            return response.data, _info(response.headers)

    def write(self, relative: str, data: bytes, replaces: Replaces, metadata: Mapping[str, str]) -> str | None:
        """Write a small object; returns its ETag, or None if something else stands there than is to be replaced."""
        condition = self.condition(relative, replaces)
        if condition is None:
            return None
        with self.errors():
            try:
                return self._put(relative, data, {**condition, **_as_headers(metadata)})
            except MinioException as error:
                if not is_precondition(error):
                    raise
                return self._own_earlier_attempt(relative, data, metadata, error)

    def put(self, relative: str, data: bytes, condition: Mapping[str, str], metadata: Mapping[str, str]) -> str | None:
        """Write an object in one request; returns its ETag, or None if the condition does not hold."""
        with self.errors():
            try:
                return self._put(relative, data, {**condition, **_as_headers(metadata)})
            except MinioException as error:
                if is_precondition(error):
                    return None
                raise

    def start_upload(self, relative: str, metadata: Mapping[str, str]) -> str:
        """Begin an object of several parts; returns the upload's name."""
        with self.errors():
            return self.client._create_multipart_upload(self.name, self.key(relative), dict(_as_headers(metadata)))

    def put_part(self, relative: str, data: bytes, upload: str, number: int) -> str:
        """Write one part; returns its ETag."""
        with self.errors():
            return self.client._upload_part(self.name, self.key(relative), data, None, upload, number)

    def abort_upload(self, relative: str, upload: str) -> None:
        """Give an upload up; the store keeps nothing of it. What is gone already is no error."""
        with self.errors():
            try:
                self.client._abort_multipart_upload(self.name, self.key(relative), upload)
            except S3Error as error:
                if not is_absent(error):
                    raise

    def open_range(self, relative: str, start: int, length: int, etag: str) -> BaseHTTPResponse:
        """A stream of a range of one version of an object; errors are those of the client."""
        return self.client.get_object(
            self.name, self.key(relative), start, length, request_headers={"If-Match": f'"{etag}"'}
        )

    def condition(self, relative: str, replaces: Replaces) -> dict[str, str] | None:
        """Headers of a conditional write; None if it is known to fail already.

        A store that ignores such headers gets none: then a check just before the write is all there is.
        """
        if replaces is ANY:
            return {}
        if self._supports_conditions():
            return {"If-None-Match": "*"} if replaces is None else {"If-Match": f'"{replaces}"'}
        present = self.head(relative)
        return {} if (present.etag if present else None) == replaces else None

    def listing(self, prefix: str) -> dict[str, ObjectInfo]:
        """Size and ETag of every object whose key starts with a prefix."""
        with self.errors():
            objects = list(self.client.list_objects(self.name, prefix=self.key(prefix), recursive=True))
        return {
            str(item.object_name).removeprefix(self._prefix): ObjectInfo(str(item.etag), int(item.size or 0), {}, 0)
            for item in objects
            if not item.is_dir
        }

    def delete(self, relatives: Iterable[str]) -> None:
        """Delete objects; nothing happens for those that do not exist."""
        with self.errors():
            doomed = [DeleteObject(self.key(relative)) for relative in relatives]
            for error in self.client.remove_objects(self.name, doomed):
                raise self._failed(f"{error.code}: {error.message}", str(error.code))

    def copy(self, source: str, target: str, origin: Bucket | None = None) -> bool:
        """Copy an object, of another prefix where one is given, with its metadata; False when the source is gone."""
        origin = origin or self
        info = origin.head(source)
        if info is None:
            return False
        with self.errors():
            try:
                self.client.copy_object(
                    self.name,
                    self.key(target),
                    CopySource(origin.name, origin.key(source)),
                    metadata=dict(_as_headers(info.metadata)),
                )
                return True
            except S3Error as error:
                if is_absent(error):
                    return False
                raise

    def complete_upload(self, relative: str, upload: str, etags: Iterable[str], condition: Mapping[str, str]) -> bool:
        """Make an object of uploaded parts; False if its condition does not hold."""
        root = Element("CompleteMultipartUpload")
        for number, etag in enumerate(etags, start=1):
            part = SubElement(root, "Part")
            SubElement(part, "PartNumber").text = str(number)
            SubElement(part, "ETag").text = f'"{etag}"'
        with self.errors():
            try:
                answer = self.client._execute(
                    "POST",
                    self.name,
                    self.key(relative),
                    body=tostring(root),
                    headers={"Content-Type": "application/xml", **condition},
                    query_params={"uploadId": upload},
                )
            except MinioException as error:
                if is_precondition(error):
                    return False
                raise
            if b"<Error>" in answer.data:
                raise self.unreachable("it could not put the parts of an upload together")
        return True

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the client into ours."""
        try:
            yield
        except S3Error as error:
            if error.code == "NoSuchBucket":
                raise self._no_bucket() from error
            raise self._failed(f"{error.code}: {error.message}", str(error.code)) from error
        except (MinioException, HTTPError, ParseError) as error:
            reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            raise self.unreachable(str(reason).partition("\n")[0][:200]) from error

    def _supports_conditions(self) -> bool:
        """Whether the store honours If-None-Match: a second creation of one object must fail."""
        if self._conditional is None:
            self._conditional = not (self._creates(_CONDITION_PROBE) and self._creates(_CONDITION_PROBE))
            if not self._conditional:
                warnings.warn(
                    f"{self.uri}: the object store ignores conditional writes; let one process at a time write to it",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return self._conditional

    def _creates(self, relative: str) -> bool:
        """Whether an object can be created although it may exist."""
        with self.errors():
            try:
                self._put(relative, b"", {"If-None-Match": "*"})
            except MinioException as error:
                if is_precondition(error):
                    return False
                if status(error) != 501:
                    raise
        return True

    def _own_earlier_attempt(
        self, relative: str, data: bytes, metadata: Mapping[str, str], error: MinioException
    ) -> str | None:
        """The ETag if it was an earlier attempt of this very request, whose answer got lost, that wrote the object."""
        retries = getattr(getattr(error, "response", None), "retries", None)
        if retries is None or not retries.history:
            return None
        present = self.read(relative)
        if present is None or present[0] != data or dict(present[1].metadata) != dict(metadata):
            return None
        return present[1].etag

    def _put(self, relative: str, data: bytes, headers: Mapping[str, str]) -> str:
        return str(self.client._put_object(self.name, self.key(relative), data, dict(headers)).etag)

    def unreachable(self, answer: str) -> StorageError:
        """The store does not do what it should."""
        return StorageError(
            "storage.unreachable",
            field=self.uri,
            problem=f"the object store fails ({answer})",
            remedy="check CROSSOVER_S3_ENDPOINT, CROSSOVER_S3_SECURE and the server",
        )

    def _no_bucket(self) -> StorageError:
        return StorageError(
            "storage.no-bucket",
            field=self.uri,
            problem=f"there is no bucket {self.name!r}",
            remedy="create it or correct the URI",
        )

    def _failed(self, answer: str, code: str) -> StorageError:
        if code in _REFUSED:
            return StorageError(
                "storage.credentials",
                field=self.uri,
                problem=f"the object store refuses the credentials ({answer})",
                remedy="check CROSSOVER_S3_ACCESS_KEY and CROSSOVER_S3_SECRET_KEY (or the AWS variables, or the "
                "identity), and what they may do in this bucket",
            )
        if code in _FULL:
            return StorageError(
                "storage.full",
                field=self.uri,
                problem=f"the object store is full ({answer})",
                remedy="free some space and run again: finished work is kept and resumed",
            )
        return self.unreachable(answer)


def status(error: MinioException) -> int:
    """HTTP status of an error; 0 where there is none."""
    if isinstance(error, S3Error):
        return int(error.response.status)
    return error.status_code if isinstance(error, ServerError) else int(getattr(error, "_code", 0))


def is_absent(error: MinioException) -> bool:
    """Whether there is no such object."""
    return status(error) == 404 and getattr(error, "code", "") != "NoSuchBucket"


def is_precondition(error: MinioException) -> bool:
    """Whether the condition of a request does not hold; 409 is AWS's answer when another one is being decided."""
    return status(error) in (409, 412)


def _as_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    return {_META + name: value for name, value in metadata.items()}


def _info(headers: Mapping[str, str]) -> ObjectInfo:
    lower = {name.lower(): value for name, value in headers.items()}
    times = [parsedate_to_datetime(lower[name]) for name in ("last-modified", "date") if name in lower]
    metadata = {name.removeprefix(_META): value for name, value in lower.items() if name.startswith(_META)}
    age = (times[1] - times[0]).total_seconds() if len(times) == 2 else 0.0
    return ObjectInfo(lower.get("etag", "").strip('"'), int(lower.get("content-length", 0)), metadata, age)
