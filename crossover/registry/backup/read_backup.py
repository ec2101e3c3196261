"""The file of a backup, opened to be checked and read."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from crossover.errors import RegistryError
from crossover.registry.backup.manifest import (
    FORMAT,
    MANIFEST,
    BackupManifest,
    damaged,
    member_of,
    not_a_backup,
    tables,
)
from crossover.registry.backup.portable_rows import PortableTable, count_and_digest

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
"""What the standard library raises on a zip that is torn, altered, encrypted, or compressed in another way."""


class BackupFile:
    """A backup that is open for reading.

    Args:
        file: that `backup` wrote.

    Raises:
        RegistryError: it cannot be read, or is no backup of this format.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._archive = zipfile.ZipFile(file)
        except FileNotFoundError as error:
            raise not_a_backup(file, "there is no such file") from error
        except OSError as error:
            raise not_a_backup(file, f"cannot be read ({error.strerror})") from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise not_a_backup(file, "is no whole backup: it has been cut short, or is another file") from error
        try:
            self.manifest = self._manifest()
        except RegistryError:
            self._archive.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def _manifest(self) -> BackupManifest:
        try:
            manifest = BackupManifest.model_validate_json(self._archive.read(MANIFEST))
        except KeyError as error:
            raise not_a_backup(self.file, f"holds no {MANIFEST}") from error
        except (*_BROKEN, ValidationError) as error:
            raise damaged(self.file, f"its {MANIFEST} cannot be read") from error
        if manifest.format != FORMAT:
            raise not_a_backup(self.file, f"has the format {manifest.format}, and this version reads {FORMAT}")
        return manifest

    def verify(self) -> None:
        """Read every table once and compare its columns, rows and digest with the manifest.

        Raises:
            RegistryError: the file is not as it was written.
        """
        held = {table.name: PortableTable(table).names for table in tables()}
        if held != {name: table.columns for name, table in self.manifest.tables.items()}:
            raise damaged(self.file, "its tables are not those of its schema")
        for name, expected in self.manifest.tables.items():
            with self.lines(name) as lines:
                found = count_and_digest(lines)
            if found != (expected.rows, expected.digest):
                raise damaged(self.file, f"the rows of {name} are not those that were written")

    @contextmanager
    def lines(self, table: str) -> Iterator[Iterator[bytes]]:
        """The lines of a table, read as they are asked for.

        Raises:
            RegistryError: the member is missing or torn.
        """
        try:
            member = self._archive.open(member_of(table))
        except (KeyError, *_BROKEN) as error:
            raise damaged(self.file, f"the table {table} is missing") from error
        with member:
            yield self._guarded(iter(member), table)

    def _guarded(self, lines: Iterator[bytes], table: str) -> Iterator[bytes]:
        try:
            yield from lines
        except _BROKEN as error:
            raise damaged(self.file, f"the table {table} cannot be read ({error})") from error
