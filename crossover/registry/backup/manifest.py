"""The manifest of a backup, and the two kinds of error that its file may give."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Table

from crossover.errors import RegistryError
from crossover.registry import schema

FORMAT = 1
MANIFEST = "manifest.json"


class BackedUpTable(BaseModel):
    """What a backup holds of one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...]
    rows: int = Field(ge=0)
    digest: str = Field(description="SHA-256 of the lines of its rows, as `sha256:<64 hex digits>`.")


class BackupManifest(BaseModel):
    """What a backup holds, as its `manifest.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(description="Of the file; 1.")
    revision: str = Field(description="Of the schema.")
    version: str = Field(description="Of the Crossover that made it.")
    created_at: str = Field(description="Before the first row was read; UTC, ISO 8601.")
    tables: dict[str, BackedUpTable]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables.values())


def tables() -> list[Table]:
    """The tables of the schema, each behind those that it refers to."""
    return schema.Base.metadata.sorted_tables


def member_of(table: str) -> str:
    """The name of a table's member in the zip."""
    return f"tables/{table}.jsonl"


def not_a_backup(file: Path, problem: str) -> RegistryError:
    """The error of a file that no backup wrote."""
    return RegistryError(
        "registry.not-a-backup",
        field="FILE",
        problem=f"{file}: {problem}",
        remedy="name a file that `crossover registry backup` wrote; nothing has been restored",
    )


def damaged(file: Path, problem: str) -> RegistryError:
    """The error of a backup that is not as it was written."""
    return RegistryError(
        "registry.damaged-backup",
        field="FILE",
        problem=f"{file}: {problem}",
        remedy="use another backup or copy the file again; nothing has been restored",
    )
