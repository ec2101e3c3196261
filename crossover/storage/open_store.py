"""From a URI to its store."""

from __future__ import annotations

from crossover.errors import StorageError
from crossover.settings import Settings, get_settings
from crossover.storage.artifact_store import ArtifactStore
from crossover.storage.folder_store import FolderStore


def open_store(uri: str, settings: Settings | None = None) -> ArtifactStore:
    """The store at a path, or at s3://bucket/prefix.

    Args:
        uri: where the artifacts are.
        settings: endpoint, credentials and scratch folder; those of the environment by default.

    Raises:
        StorageError: the URI is neither, or the object store cannot be used.
    """
    if uri.startswith("s3://"):
        from crossover.storage.s3_store import S3Store

        return S3Store(uri, settings or get_settings())
    if "://" not in uri and uri:
        return FolderStore(uri)
    raise StorageError(
        "storage.bad-uri", field=uri or "--out", problem="is not a store", remedy="give a path or s3://bucket/prefix"
    )
