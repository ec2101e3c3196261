"""`crossover registry backup`, `restore` and `export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from crossover.commands.command_options import registry_of
from crossover.registry import backup as registry_backup


def backup(options: argparse.Namespace) -> int:
    """Write the whole registry to one file.

    Raises:
        RegistryError: the registry cannot be read, or the file exists.
        WorkspaceError: the file cannot be written.
    """
    file = Path(options.file)
    manifest = registry_backup.backup(registry_of(options), file)
    size = file.stat().st_size / 1e6
    rows = f"{manifest.rows:,} rows of {len(manifest.tables)} tables"
    print(f"{file}: {rows}, schema {manifest.revision}, {size:,.1f} MB")
    return 0


def restore(options: argparse.Namespace) -> int:
    """Fill an empty registry with a backup.

    Raises:
        RegistryError: the file is no whole backup of this schema, or the registry is not empty.
    """
    manifest = registry_backup.restore(registry_of(options), Path(options.file))
    rows = f"{manifest.rows:,} rows of {len(manifest.tables)} tables"
    print(f"restored {rows}, as they were at {manifest.created_at}; digests and foreign keys agree")
    return 0


def export(options: argparse.Namespace) -> int:
    """Write every documented view as a Parquet file.

    Raises:
        RegistryError: the registry cannot be read, or has no study of that name.
        WorkspaceError: the folder cannot be written.
    """
    from crossover.registry.export_views import export_views

    for file, rows in export_views(registry_of(options), Path(options.parquet), study=options.study).items():
        print(f"{file}: {rows:,} rows")
    return 0
