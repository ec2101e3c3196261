"""A whole registry in one file, and back: the same file for SQLite and PostgreSQL.

    backup("sqlite:///studies/registry.sqlite", Path("registry.zip"))
    restore("postgresql://user@host/name", Path("registry.zip"))

The file is a zip with one member of JSON lines for each table, one row a line, and `manifest.json`.
"""

from crossover.registry.backup.manifest import BackupManifest
from crossover.registry.backup.restore_backup import restore
from crossover.registry.backup.take_backup import backup

__all__ = ["BackupManifest", "backup", "restore"]
