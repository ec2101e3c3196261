"""What a folder artifact consists of: manifest.json, with at least {"files": {relative name: digest}}."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossover.files import digest_of, digest_of_file, json_text, replace_file, verify_files
from crossover.storage.artifact_store import MANIFEST
from crossover.storage.storage_errors import altered_error

FOLDER_KIND = "folder"
"""The kind of the manifests that the store itself writes; those are written anew at each publication."""


@dataclass(frozen=True)
class ArtifactManifest:
    """A parsed manifest.

    Args:
        value: all of it; writers may add fields of their own.
        content: its bytes as stored.
    """

    value: dict[str, Any]
    content: bytes

    @property
    def files(self) -> dict[str, str]:
        """Digest of each payload file, by its name relative to the folder."""
        return dict(self.value["files"])

    @property
    def digest(self) -> str:
        """The artifact's digest."""
        return digest_of(self.value)


def parse_manifest(content: bytes, where: str) -> ArtifactManifest:
    """A manifest from its bytes.

    Raises:
        StorageError: not JSON, without digests, or with names that lead outside of the folder.
    """
    try:
        value = json.loads(content)
        names = list(dict(value["files"]).items())
    except (ValueError, TypeError, KeyError) as error:
        raise altered_error(where, "its manifest.json is not a manifest") from error
    for name, digest in names:
        parts = str(name).split("/")
        if not isinstance(digest, str) or "\\" in name or any(not part or part.startswith(".") for part in parts):
            raise altered_error(where, f"its manifest.json names {name!r}, which cannot be a file of it")
    return ArtifactManifest(value, content)


def read_manifest(folder: Path) -> ArtifactManifest | None:
    """The manifest of a local folder; None when there is none.

    Raises:
        StorageError: it is not a manifest.
        OSError: it cannot be read.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parse_manifest(content, str(folder))


def payload_names(folder: Path) -> list[str]:
    """Names of the visible files of a folder without its manifest, relative to it, sorted."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = (name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))
    return sorted(name for name in visible if name != MANIFEST)


def complete_manifest(folder: Path) -> ArtifactManifest:
    """The manifest of a folder that is about to be published; written if the folder has none of its writer's.

    Raises:
        StorageError: the writer's own manifest does not match the folder.
        OSError: the folder cannot be read or written.
    """
    names = payload_names(folder)
    manifest = read_manifest(folder)
    if manifest is None or manifest.value.get("kind") == FOLDER_KIND:
        value = {"kind": FOLDER_KIND, "files": {name: digest_of_file(folder / name) for name in names}}
        content = json_text(value).encode()
        if manifest is None or manifest.content != content:
            replace_file(folder / MANIFEST, lambda file: file.write(content))
        return ArtifactManifest(value, content)
    unnamed = sorted(set(names) - set(manifest.files))
    if unnamed:
        raise altered_error(str(folder), f"its manifest.json does not name {unnamed[0]}")
    verify_payload(folder, manifest)
    return manifest


def verify_payload(folder: Path, manifest: ArtifactManifest) -> None:
    """Compare every payload file with its digest.

    Raises:
        StorageError: one is missing or altered.
        OSError: one cannot be read.
    """
    problem = verify_files(folder, manifest.files)
    if problem:
        raise altered_error(str(folder), problem)
