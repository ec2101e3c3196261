"""The object store, behind four methods: a local folder, or any S3 endpoint through the `minio` client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from minio import Minio
from minio.error import MinioException, S3Error
from urllib3 import PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

from crossover.errors import WorkspaceError
from crossover.files import workspace_error, write_atomically
from crossover.settings import Settings


class Store(Protocol):
    """Keys to files. Keys are relative, with `/` between parts."""

    def put(self, key: str, path: Path) -> None:
        """Store a file under a key, replacing what stood there."""

    def get(self, key: str, path: Path) -> None:
        """Fetch the file of a key; the local file appears whole or not at all."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix, sorted."""

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens when there is none."""


class LocalStore:
    """A folder as a store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: str, path: Path) -> None:
        """Copy a file in."""
        with path.open("rb") as source:
            write_atomically(self._path(key), lambda file: shutil.copyfileobj(source, file))

    def get(self, key: str, path: Path) -> None:
        """Copy a file out."""
        try:
            with self._path(key).open("rb") as source:
                write_atomically(path, lambda file: shutil.copyfileobj(source, file))
        except FileNotFoundError as error:
            raise _no_such_key(key, str(self.root)) from error

    def keys(self, prefix: str) -> Iterator[str]:
        """Files below a prefix; unfinished ones (leading dot) are not there."""
        root = self._path(prefix) if prefix else self.root
        found = [root] if root.is_file() else root.rglob("*")
        names = (p.relative_to(self.root) for p in found if p.is_file())
        yield from sorted(n.as_posix() for n in names if not any(part.startswith(".") for part in n.parts))

    def delete(self, key: str) -> None:
        """Remove a file."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = (self.root / key).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise WorkspaceError("workspace.bad-key", field=key, problem="leads outside the store", remedy="drop `..`")
        return path


class S3Store:
    """A prefix of a bucket in any S3 endpoint.

    Raises:
        WorkspaceError: the endpoint is not set, does not answer, or refuses the credentials or the bucket.
    """

    def __init__(self, uri: str, settings: Settings) -> None:
        parts = urlsplit(uri)
        self.uri, self.bucket, self.prefix = uri, parts.netloc, parts.path.strip("/")
        if not settings.s3_endpoint:
            raise WorkspaceError(
                "workspace.no-endpoint",
                field="CROSSOVER_S3_ENDPOINT",
                problem=f"{uri} needs an object store and none is set",
                remedy="set CROSSOVER_S3_ENDPOINT to host:port",
            )
        self.client = Minio(
            settings.s3_endpoint,
            access_key=settings.s3_access_key.get_secret_value() or None,
            secret_key=settings.s3_secret_key.get_secret_value() or None,
            region=settings.s3_region or None,
            secure=settings.s3_secure,
            http_client=PoolManager(timeout=Timeout(connect=5, read=60), retries=Retry(total=3, backoff_factor=0.2)),
        )
        try:
            found = self.client.bucket_exists(self.bucket)
        except (MinioException, HTTPError, OSError) as error:
            raise self._failed(error) from error
        if not found:
            raise WorkspaceError(
                "workspace.no-bucket",
                field=uri,
                problem=f"there is no bucket {self.bucket!r}",
                remedy="create it or correct the workspace",
            )

    def put(self, key: str, path: Path) -> None:
        """Upload a file."""
        try:
            self.client.fput_object(self.bucket, self._key(key), str(path))
        except (MinioException, HTTPError) as error:
            raise self._failed(error) from error

    def get(self, key: str, path: Path) -> None:
        """Download a file."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client.fget_object(self.bucket, self._key(key), str(path))
        except S3Error as error:
            raise _no_such_key(key, self.uri) if error.code == "NoSuchKey" else self._failed(error) from error
        except (MinioException, HTTPError) as error:
            raise self._failed(error) from error
        except OSError as error:
            raise workspace_error(path, error) from error

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix."""
        try:
            found = self.client.list_objects(self.bucket, prefix=self._key(prefix), recursive=True)
            names = sorted(str(item.object_name) for item in found)
        except (MinioException, HTTPError) as error:
            raise self._failed(error) from error
        yield from (name.removeprefix(f"{self.prefix}/" if self.prefix else "") for name in names)

    def delete(self, key: str) -> None:
        """Remove a key."""
        try:
            self.client.remove_object(self.bucket, self._key(key))
        except (MinioException, HTTPError) as error:
            raise self._failed(error) from error

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _failed(self, error: Exception) -> WorkspaceError:
        return WorkspaceError(
            "workspace.object-store",
            field=self.uri,
            problem=f"the object store answered: {str(error).splitlines()[0][:200]}",
            remedy="check CROSSOVER_S3_ENDPOINT, the keys, and CROSSOVER_S3_SECURE",
        )


def _no_such_key(key: str, where: str) -> WorkspaceError:
    return WorkspaceError(
        "workspace.missing-file", field=key, problem=f"not in {where}", remedy="run the step that writes it first"
    )
