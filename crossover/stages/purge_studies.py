"""Removing studies that were deleted long ago: their rows in the registry, and the artifacts that they alone use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from crossover.registry import Registry
from crossover.registry.study_deletion import DeletedStudy, deleted_studies, purge_study
from crossover.storage.open_store import open_store


@dataclass(frozen=True)
class PurgedStudy:
    """A study that was removed."""

    study: DeletedStudy
    artifacts: tuple[str, ...]
    """URIs of those that were removed."""
    missing: tuple[str, ...]
    """URIs where nothing was, or something with another digest, which stays."""


def purge_studies(registry: Registry, *, older: timedelta, actor: str) -> Iterator[PurgedStudy]:
    """Remove every study that was deleted at least so long ago; yields what was removed.

    Only checkpoints and promoted copies that the registry knows are removed, each if it still has the recorded digest.

    Args:
        registry: open to write.
        older: the grace period.
        actor: who asks, for the events.

    Raises:
        StorageError: a store cannot be reached; the study's rows stay, and a later purge goes on.
        RegistryError: the registry cannot be written.
    """
    for study in deleted_studies(registry, older=older):
        done: dict[str, bool] = {}

        def remove(uri: str, digest: str, done: dict[str, bool] = done) -> None:
            done[uri] = _remove(uri, digest)

        purged = purge_study(registry, study, remove, actor=actor)
        if purged is not None:
            yield PurgedStudy(
                purged,
                artifacts=tuple(uri for uri, removed in done.items() if removed),
                missing=tuple(uri for uri, removed in done.items() if not removed),
            )


def _remove(uri: str, digest: str) -> bool:
    parent, _, name = uri.rstrip("/").rpartition("/")
    store = open_store(parent)
    if store.digest(name) != digest:
        return False
    store.delete(name)
    return True
