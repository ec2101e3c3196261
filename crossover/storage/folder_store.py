"""A local folder as an artifact store: artifacts lie in place, under their names.

A published file has its digest beside it, in `.<name>.sha256`: until it is there, the file is work in progress.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from crossover.files import digest_of_content, digest_of_file, json_text, replace_file, sync_folder
from crossover.storage.artifact_manifest import complete_manifest, read_manifest, verify_payload
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
from crossover.storage.storage_errors import (
    altered_error,
    conflict_error,
    disk_error,
    missing_error,
    other_digest_error,
)


class FolderStore:
    """A folder as a store; it is created when the first artifact is written.

    Args:
        uri: the folder's path.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"
        self.root = Path(self.uri)

    def path(self, name: str) -> Path:
        """Where an artifact lies."""
        return self.root / checked_name(name)

    def uri_of(self, name: str) -> str:
        """The path of an artifact, as text."""
        return f"{self.uri}/{checked_name(name)}"

    def name_of(self, uri: str) -> str:
        """The name of the artifact at a path."""
        return checked_relative_uri(self.uri, uri)

    def publish(self, name: str, twin: str = "") -> str:
        """Make a file or folder an artifact where it lies."""
        path = self.path(name)
        try:
            if path.is_dir():
                manifest = complete_manifest(path)
                _sync_tree(path, [*manifest.files, MANIFEST])
                return manifest.digest
            if not path.is_file():
                raise missing_error(self.uri_of(name))
            digest = digest_of_file(path)
            _sync_tree(path.parent, [path.name])
            _write_digest(path, digest)
            return digest
        except OSError as error:
            raise disk_error(path, error) from error

    def fetch(self, name: str, digest: str | None = None) -> Path:
        """Verify an artifact where it lies."""
        path = self.path(name)
        actual = self.digest(name)
        if actual is None:
            raise missing_error(self.uri_of(name))
        if digest is not None and actual != digest:
            raise other_digest_error(self.uri_of(name), actual, digest)
        try:
            manifest = read_manifest(path)
            if manifest is not None:
                verify_payload(path, manifest)
            elif digest_of_file(path) != actual:
                raise altered_error(str(path), "does not have the recorded digest")
        except OSError as error:
            raise disk_error(path, error) from error
        return path

    def digest(self, name: str) -> str | None:
        """The digest in the manifest, or beside the file."""
        path = self.path(name)
        try:
            manifest = read_manifest(path)
            if manifest is not None:
                return manifest.digest
            return _digest_path(path).read_text("utf-8").strip() if path.is_file() else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error(path, error) from error

    def names(self, prefix: str) -> list[str]:
        """Names of the published artifacts at and below a prefix, sorted."""
        top = self.root / checked_prefix(prefix)
        try:
            if top.is_file():
                return [prefix] if _digest_path(top).exists() else []
            return sorted(path.relative_to(self.root).as_posix() for path in self._artifacts(top))
        except OSError as error:
            raise disk_error(top, error) from error

    def delete(self, name: str) -> None:
        """Remove an artifact, or all below a folder."""
        path = self.path(name)
        try:
            for manifest in sorted(path.rglob(MANIFEST)):
                manifest.unlink(missing_ok=True)
            if path.is_dir():
                shutil.rmtree(path)
            _digest_path(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(path, error) from error

    def read_document(self, name: str) -> Document | None:
        """A document and its version, which is its digest."""
        path = self.path(name)
        try:
            content = path.read_bytes()
            return Document(json.loads(content), digest_of_content(content))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk_error(path, error) from error
        except ValueError as error:
            raise altered_error(str(path), "is not JSON") from error

    def write_document(self, name: str, value: object, *, replaces: str | Literal[AnyVersion.ANY] | None) -> str:
        """Write a document under a lock, if nothing changed meanwhile."""
        path = self.path(name)
        content = json_text(value).encode()
        try:
            with file_lock(path.with_name(f".{path.name}.lock")):
                present = digest_of_file(path) if path.exists() else None
                if replaces is not ANY and replaces != present:
                    raise conflict_error(self.uri_of(name))
                version = digest_of_content(content)
                _write_digest(path, version)
                replace_file(path, lambda file: file.write(content))
                return version
        except OSError as error:
            raise disk_error(path, error) from error

    def _artifacts(self, folder: Path) -> Iterator[Path]:
        """The artifacts at and below a folder."""
        if folder != self.root and (folder / MANIFEST).is_file():
            yield folder
            return
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.startswith("."):
                continue
            if path.is_dir():
                yield from self._artifacts(path)
            elif _digest_path(path).exists():
                yield path


def _digest_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def _write_digest(path: Path, digest: str) -> None:
    replace_file(_digest_path(path), lambda file: file.write(f"{digest}\n".encode()))


def _sync_tree(folder: Path, names: list[str]) -> None:
    """Make files and their names durable."""
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    for parent in sorted({(folder / name).parent for name in names}):
        sync_folder(parent)
