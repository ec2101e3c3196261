"""Take a backup: one consistent state of all tables while others write."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sqlalchemy import Connection

import crossover
from crossover.errors import RegistryError
from crossover.files import json_text, write_atomically
from crossover.registry.backup.manifest import FORMAT, MANIFEST, BackedUpTable, BackupManifest, member_of, tables
from crossover.registry.backup.portable_rows import PortableTable
from crossover.registry.migrate_schema import check_schema, head_revision
from crossover.registry.registry_url import parse_url
from crossover.registry.snapshot import snapshot

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member: equal registries give equal tables in the file."""


def _now() -> datetime:
    return datetime.now(UTC)


def backup(url: str, file: Path, *, clock: Callable[[], datetime] = _now) -> BackupManifest:
    """Write all tables of a registry to a new file, as they were at one moment.

    Writers go on meanwhile (see `snapshot`); a copy of SQLite's file stands beside the new one until then.

    Args:
        url: SQLAlchemy URL of a registry of this version's schema.
        file: which must not exist yet; it appears when it is complete, and only its owner may read it.
        clock: the current time, in UTC.

    Returns:
        What the file holds.

    Raises:
        RegistryError: the registry is missing, cannot be read or has another schema, or the file exists.
        WorkspaceError: the file cannot be written.
    """
    parsed = parse_url(url)
    check_schema(parsed)
    if file.exists():
        raise RegistryError(
            "registry.backup-exists",
            field="FILE",
            problem=f"{file} exists already",
            remedy="name a new file: a backup replaces nothing",
        )
    created_at = clock().astimezone(UTC).isoformat(timespec="seconds")
    written: list[BackupManifest] = []
    with snapshot(parsed, file.parent) as connection:
        write_atomically(file, lambda target: written.append(_write(connection, target, created_at)))
    with suppress(OSError):  # of a file system without permissions
        file.chmod(0o600)
    return written[0]


def _write(connection: Connection, target: IO[bytes], created_at: str) -> BackupManifest:
    """The zip: a member for each table, and the manifest as the last one."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        held = {table.name: _write_table(connection, archive, PortableTable(table)) for table in tables()}
        manifest = BackupManifest(
            format=FORMAT,
            revision=head_revision(),
            version=crossover.__version__,
            created_at=created_at,
            tables=held,
        )
        archive.writestr(_member(MANIFEST), json_text(manifest.model_dump(mode="json")))
    return manifest


def _write_table(connection: Connection, archive: zipfile.ZipFile, table: PortableTable) -> BackedUpTable:
    rows, digest = 0, hashlib.sha256()
    with archive.open(_member(member_of(table.table.name)), "w", force_zip64=True) as member:
        for line in table.lines(connection):
            rows += 1
            digest.update(line)
            member.write(line)
    return BackedUpTable(columns=table.names, rows=rows, digest=f"sha256:{digest.hexdigest()}")


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info
