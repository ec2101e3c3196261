"""`crossover registry delete`, `undelete`, `purge`, `compact`, `archive` and `unarchive`."""

from __future__ import annotations

import argparse
import getpass
from datetime import timedelta
from pathlib import Path

from crossover.commands.command_options import registry_of
from crossover.errors import RegistryError
from crossover.registry import Registry, open_registry
from crossover.registry.closed_runs import compact as compact_runs
from crossover.registry.open_registry import AnyRegistry, is_service
from crossover.settings import get_settings


def delete(options: argparse.Namespace) -> int:
    """Hide a study; see `Registry.delete_study`."""
    with _open(options) as registry:
        revisions = registry.delete_study(options.name, actor=_person())
    print(f"deleted {options.name} ({_count(revisions, 'revision')}): hidden, but all there until a purge")
    print(
        f"`crossover registry undelete {options.name}` brings it back; `crossover registry purge` removes it for good"
    )
    return 0


def undelete(options: argparse.Namespace) -> int:
    """Bring back a deleted study; see `Registry.restore_study`."""
    with _open(options) as registry:
        revisions = registry.restore_study(options.name, actor=_person())
    print(f"{options.name} is there again ({_count(revisions, 'revision')})")
    return 0


def purge(options: argparse.Namespace) -> int:
    """Remove studies that were deleted long ago, with the artifacts that they alone use.

    Raises:
        RegistryError: the registry cannot be written, or the number of days is negative.
        StorageError: a store cannot be reached; what was not removed stays in the registry.
    """
    from crossover.registry.study_deletion import deleted_studies
    from crossover.stages.purge_studies import purge_studies

    older = timedelta(days=_at_least_zero("--older-than", options.older_than))
    with _open_database(options) as registry:
        removed = 0
        if options.dry_run:
            for study in deleted_studies(registry, older=older):
                removed += 1
                print(f"would remove {study.namespace}/{study.name}: {_count(len(study.runs), 'run')}")
                for uri, _ in study.artifacts:
                    print(f"  {uri}")
        else:
            for purged in purge_studies(registry, older=older, actor=_person()):
                removed += 1
                artifacts, missing = _count(len(purged.artifacts), "artifact"), len(purged.missing)
                text = f"{_count(len(purged.study.runs), 'run')}, {artifacts}"
                print(f"removed {purged.study.namespace}/{purged.study.name}: {text}", flush=True)
                if missing:
                    print(f"  {_count(missing, 'artifact')} not there, or changed since they were recorded: left alone")
    if not removed:
        print(f"nothing to remove: no study was deleted {options.older_than:g} days ago or earlier")
    return 0


def compact(options: argparse.Namespace) -> int:
    """Pack the points of closed runs into arrays.

    Raises:
        RegistryError: the registry cannot be written, or the number of hours is negative.
    """
    closed_for = timedelta(hours=_at_least_zero("--closed-for", options.closed_for))
    with _open_database(options) as registry:
        done = compact_runs(registry, closed_for=closed_for)
    print(f"packed {done.points:,} points of {_count(done.runs, 'run')}")
    if done.kept:
        print(f"{done.kept:,} points stay rows: this database would not have given them back bit for bit")
    return 0


def archive(options: argparse.Namespace) -> int:
    """Write a study to Parquet files.

    Raises:
        RegistryError: the registry cannot be read or has no such study, or the folder exists.
        WorkspaceError: the folder cannot be written.
    """
    from crossover.registry.archive import archive as archive_study

    folder, url = Path(options.folder), _database_url(options)
    manifest = archive_study(url, options.name, folder, namespace=_namespace())
    print(f"{folder}: {manifest.rows:,} rows of {len(manifest.files)} tables, schema {manifest.revision}")
    return 0


def unarchive(options: argparse.Namespace) -> int:
    """Bring an archived study back.

    Raises:
        RegistryError: the folder is no archive, or the registry has the study already; nothing has been restored.
    """
    from crossover.registry.archive import unarchive as restore_archive

    with _open_database(options) as registry:
        manifest = restore_archive(registry, Path(options.folder))
    print(f"restored {manifest.study}, archived at {manifest.created_at}, into the namespace {_namespace()}")
    return 0


def _open(options: argparse.Namespace) -> AnyRegistry:
    registry = open_registry(registry_of(options))
    return registry.within(_namespace()) if isinstance(registry, Registry) else registry


def _open_database(options: argparse.Namespace) -> Registry:
    return Registry.open(_database_url(options)).within(_namespace())


def _database_url(options: argparse.Namespace) -> str:
    url = registry_of(options)
    if is_service(url):
        raise RegistryError(
            "registry.needs-database",
            field="--registry",
            problem="a service does not do this over HTTP",
            remedy="give the SQLAlchemy URL of its database, where that can be reached",
        )
    return url


def _namespace() -> str:
    return get_settings().registry_namespace or "default"


def _at_least_zero(flag: str, number: float) -> float:
    if not 0 <= number < 1e6:
        raise RegistryError(
            "registry.bad-period", field=flag, problem=f"{number:g} is no period", remedy="give a number from 0 on"
        )
    return number


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
