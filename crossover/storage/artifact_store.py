"""What every artifact store does, and the names of artifacts.

An artifact is a file, or a folder whose manifest.json holds the SHA-256 of its other files. It may be published again
with other content; readers get one version or the other, never a mixture. A document is a small JSON value that changes
in place, guarded by its version. Files and folders whose name starts with a dot are never part of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from crossover.errors import StorageError

MANIFEST = "manifest.json"


class AnyVersion(Enum):
    """The type of `ANY`."""

    ANY = "any"


ANY: Final = AnyVersion.ANY
"""For `write_document`: replace whatever stands there."""


@dataclass(frozen=True)
class Document:
    """A small mutable JSON document.

    Args:
        value: the parsed JSON.
        version: an opaque token that changes with the content.
    """

    value: Any
    version: str


class ArtifactStore(Protocol):
    """Artifacts and documents by name: relative, with `/` between the parts.

    Every method raises StorageError when the store cannot be reached, read or written, and for a name that leads
    outside of it.
    """

    uri: str
    """As opened, without a trailing slash."""

    def path(self, name: str) -> Path:
        """Where an artifact lies on this machine, existing or not: in the store itself, or in its local cache."""

    def uri_of(self, name: str) -> str:
        """The URI of an artifact."""

    def name_of(self, uri: str) -> str:
        """The name of the artifact at a URI.

        Raises:
            StorageError: the URI is of another store, or leads outside of this one.
        """

    def publish(self, name: str, twin: str = "") -> str:
        """Publish the file or folder at `path(name)`: payload first, manifest last. Publishing again replaces.

        A folder without a manifest.json gets one. One that has its own (`files`: name to digest) keeps it.

        Args:
            name: the artifact.
            twin: URI of a folder artifact with the same files: within one bucket they are copied, not uploaded.

        Returns:
            The artifact's digest: of a file its SHA-256, of a folder that of its manifest.

        Raises:
            StorageError: nothing is there, a manifest does not match its folder, or another writer was faster.
        """

    def fetch(self, name: str, digest: str | None = None) -> Path:
        """The local path of a complete and verified artifact; downloads it when it is not here yet.

        Raises:
            StorageError: absent, altered, or not of the given digest.
        """

    def digest(self, name: str) -> str | None:
        """The digest of a published artifact, without reading its payload; None when there is none."""

    def names(self, prefix: str) -> list[str]:
        """Names of the published artifacts at and below a prefix, sorted; files of a folder artifact are not listed.

        A prefix is a whole path: `seed-1` does not list `seed-10`. An empty one lists everything.
        """

    def delete(self, name: str) -> None:
        """Delete an artifact, or all below a folder: manifests first, then the payload, here and in the cache."""

    def read_document(self, name: str) -> Document | None:
        """A document as it is now; None when there is none."""

    def write_document(self, name: str, value: object, *, replaces: str | Literal[AnyVersion.ANY] | None) -> str:
        """Write a document if nothing changed meanwhile.

        Args:
            name: the document.
            value: anything that JSON can hold.
            replaces: the version that must stand there now; None: nothing may stand there; ANY: overwrite.

        Returns:
            The new version.

        Raises:
            StorageError: `storage.conflict` when another version stands there.
        """


def checked_name(name: str) -> str:
    """The name, if it can be that of an artifact.

    Raises:
        StorageError: empty, leads outside of the store, or is reserved for the store's own files.
    """
    parts = name.split("/")
    if any(not part or part.startswith(".") or "\\" in part or not part.isprintable() for part in parts):
        raise _bad_name(name, "is not a relative path of visible names", "give `a/b`: no `..`, no leading dot or slash")
    if parts[-1] == MANIFEST:
        raise _bad_name(name, "is reserved for the manifests of folders", "name the folder, or choose another name")
    return name


def checked_prefix(prefix: str) -> str:
    """The prefix without a trailing slash; an empty one stands for the whole store."""
    return checked_name(prefix.removesuffix("/")) if prefix else ""


def checked_relative_uri(store_uri: str, uri: str) -> str:
    """The part of a URI below its store's.

    Raises:
        StorageError: the URI is of another store, or leads outside of this one.
    """
    if not uri.startswith(f"{store_uri}/"):
        raise StorageError(
            "storage.bad-uri",
            field=uri,
            problem=f"is not in {store_uri}",
            remedy="keep all artifacts of a study in one workspace",
        )
    return checked_name(uri.removeprefix(f"{store_uri}/"))


def _bad_name(name: str, problem: str, remedy: str) -> StorageError:
    return StorageError("storage.bad-name", field=name or "an empty name", problem=problem, remedy=remedy)
