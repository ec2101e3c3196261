"""A prefix of a bucket as an artifact store, with a verified cache on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from crossover.errors import StorageError
from crossover.files import digest_of_content, digest_of_file, json_text, replace_file
from crossover.settings import Settings
from crossover.storage.artifact_manifest import complete_manifest, payload_names, read_manifest
from crossover.storage.artifact_store import (
    ANY,
    MANIFEST,
    AnyVersion,
    Document,
    checked_name,
    checked_prefix,
    checked_relative_uri,
)
from crossover.storage.file_lock import file_lock
from crossover.storage.s3_bucket import Bucket
from crossover.storage.s3_connection import connect
from crossover.storage.s3_publication import INCOMPLETE, Published, publish_file, publish_folder, read_published
from crossover.storage.s3_transfer import DIGEST, ChangedError, Download, download_all, in_parallel
from crossover.storage.storage_errors import (
    altered_error,
    conflict_error,
    disk_error,
    missing_error,
    other_digest_error,
)

FETCH_ATTEMPTS = 5


class S3Store:
    """A prefix of a bucket as a store.

    Args:
        uri: s3://bucket/prefix.
        settings: endpoint, credentials and scratch folder.

    Raises:
        StorageError: no endpoint or credentials, no such bucket, or the cache cannot be written.
    """

    def __init__(self, uri: str, settings: Settings) -> None:
        self.uri = uri.rstrip("/")
        parts = urlsplit(self.uri)
        prefix = parts.path.strip("/")
        if not parts.netloc or parts.query or parts.fragment or "//" in parts.path:
            raise StorageError(
                "storage.bad-uri", field=uri, problem="is not a bucket and a prefix", remedy="give s3://bucket/prefix"
            )
        checked_prefix(prefix)
        self._bucket = Bucket(connect(settings), self.uri, parts.netloc, prefix)
        unique = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
        self.root = _private_folder(settings.scratch_folder) / f"{parts.netloc}-{unique}"

    def path(self, name: str) -> Path:
        """Where the local copy of an artifact lies, and where it is made before it is published."""
        return self.root / checked_name(name)

    def uri_of(self, name: str) -> str:
        """s3://bucket/prefix/name."""
        return f"{self.uri}/{checked_name(name)}"

    def name_of(self, uri: str) -> str:
        """The name of the artifact at a URI."""
        return checked_relative_uri(self.uri, uri)

    def publish(self, name: str, twin: str = "") -> str:
        """Upload the file or folder at `path(name)`, or copy what its twin in the same bucket has."""
        path, parts = self.path(name), urlsplit(twin)
        origin = None
        if parts.netloc == self._bucket.name:
            prefix, _, original = parts.path.strip("/").rpartition("/")
            origin = Bucket(self._bucket.client, twin, parts.netloc, prefix), original
        with self._locked(name):
            if path.is_dir():
                return publish_folder(self._bucket, name, path, complete_manifest(path), origin)
            if path.is_file():
                return publish_file(self._bucket, name, path)
        raise missing_error(str(path))

    def fetch(self, name: str, digest: str | None = None) -> Path:
        """Bring the local copy of an artifact up to date and verify it."""
        path, before, problem = self.path(name), None, ""
        for _ in range(FETCH_ATTEMPTS):
            published = read_published(self._bucket, name)
            if published is None:
                raise missing_error(self.uri_of(name))
            if digest is not None and published.digest != digest:
                raise other_digest_error(self.uri_of(name), published.digest, digest)
            if before is not None and published.is_version(before):
                break
            with self._locked(name):
                problem = self._download(name, published)
            if not problem:
                return path
            before = published
        raise altered_error(self.uri_of(name), problem)

    def digest(self, name: str) -> str | None:
        """The digest in the artifact's manifest, or beside its object."""
        published = read_published(self._bucket, checked_name(name))
        return published.digest if published else None

    def names(self, prefix: str) -> list[str]:
        """Names of the published artifacts at and below a prefix, sorted."""
        top = checked_prefix(prefix)
        keys = [PurePosixPath(key) for key in self._bucket.listing(top)]
        below = [key for key in keys if not top or key.is_relative_to(top)]
        folders = {key.parent for key in below if key.name == MANIFEST and len(key.parts) > 1}
        incomplete = {key.parent for key in below if key.name == INCOMPLETE} - folders
        visible = [key for key in below if not any(part.startswith(".") for part in key.parts) and key.name != MANIFEST]
        files = {key for key in visible if not any(parent in folders | incomplete for parent in key.parents)}
        outer = {folder for folder in folders if not any(parent in folders for parent in folder.parents)}
        if files and any(
            self._bucket.head(f"{parent}/{MANIFEST}") for parent in PurePosixPath(top).parents if parent.name
        ):
            files = set()
        return sorted(str(name) for name in files | outer)

    def delete(self, name: str) -> None:
        """Delete the objects of an artifact, or all below a folder, and their local copies."""
        path = self.path(name)
        keys = list(self._bucket.listing(f"{name}/"))
        marker = f"{name}/{INCOMPLETE}"
        if keys:
            self._bucket.write(marker, b"", ANY, {})
            self._bucket.delete(key for key in keys if key.endswith(f"/{MANIFEST}"))
        self._bucket.delete([name, *(key for key in keys if not key.endswith(f"/{MANIFEST}") and key != marker)])
        if keys:
            self._bucket.delete([marker])
        with self._locked(name):
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)

    def read_document(self, name: str) -> Document | None:
        """A document and its version, which is its ETag."""
        stored = self._bucket.read(checked_name(name))
        if stored is None:
            return None
        try:
            return Document(json.loads(stored[0]), stored[1].etag)
        except ValueError as error:
            raise altered_error(self.uri_of(name), "is not JSON") from error

    def write_document(self, name: str, value: object, *, replaces: str | Literal[AnyVersion.ANY] | None) -> str:
        """Write a document in one conditional request."""
        content = json_text(value).encode()
        version = self._bucket.write(checked_name(name), content, replaces, {DIGEST: digest_of_content(content)})
        if version is None:
            raise conflict_error(self.uri_of(name))
        return version

    def _download(self, name: str, published: Published) -> str:
        """Make the local copy what is published; returns what is wrong with the stored one, or nothing."""
        path = self.path(name)
        files = {path / relative: digest for relative, digest in published.files.items()}
        fresh = in_parallel(lambda item: item[0].is_file() and digest_of_file(item[0]) == item[1], files.items())
        wanted = [relative for relative, is_fresh in zip(published.files, fresh, strict=True) if not is_fresh]
        objects = {name: self._bucket.head(name)} if published.manifest is None else self._bucket.listing(f"{name}/")
        with self._temporary_folder() as folder:
            downloads = []
            for number, relative in enumerate(wanted):
                info = objects.get(published.key(name, relative))
                if info is None:
                    return f"{relative or name} is missing"
                downloads.append(Download(published.key(name, relative), info, folder / str(number)))
            try:
                download_all(self._bucket, downloads, name)
            except ChangedError:
                return "it was replaced again and again meanwhile"
            digests = in_parallel(lambda item: digest_of_file(item.path), downloads)
            for relative, actual in zip(wanted, digests, strict=True):
                if actual != published.files[relative]:
                    return f"{relative or name} does not have the recorded digest"
            self._put_in_place(path, published, {path / r: d.path for r, d in zip(wanted, downloads, strict=True)})
        return ""

    def _put_in_place(self, path: Path, published: Published, sources: dict[Path, Path]) -> None:
        """Move verified files to their names; the manifest is gone before and comes last."""
        manifest = published.manifest
        if manifest is not None and path.is_file():
            path.unlink()
        complete = manifest is None or (not sources and read_manifest(path) == manifest)
        if not complete:
            (path / MANIFEST).unlink(missing_ok=True)
        for target, source in sources.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)
        if manifest is not None:
            for stray in set(payload_names(path)) - set(published.files):
                (path / stray).unlink()
            if not complete:
                replace_file(path / MANIFEST, lambda file: file.write(manifest.content))

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold the local copy of an artifact against other processes; errors of the disk become ours."""
        lock = self.root / ".locks" / hashlib.sha256(checked_name(name).encode()).hexdigest()[:32]
        try:
            with file_lock(lock):
                yield
        except OSError as error:
            raise disk_error(self.path(name), error) from error

    @contextmanager
    def _temporary_folder(self) -> Iterator[Path]:
        parent = self.root / ".downloads"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            yield Path(folder)


def _private_folder(folder: Path) -> Path:
    """Create the scratch folder; in a temporary folder that all users share it must be our own.

    Raises:
        StorageError: it cannot be created, or is another user's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise disk_error(folder, error) from error
    if owner != os.getuid() and folder.parent == Path(tempfile.gettempdir()):
        raise StorageError(
            "storage.unwritable",
            field=str(folder),
            problem="is another user's",
            remedy="set CROSSOVER_SCRATCH to a folder of your own",
        )
    return folder
