"""Which rows of which tables belong to a study, and how they look in Parquet.

Ids are those of the registry that was archived: they link the files to each other, and change when they are restored.
Points of closed runs are rows like all others. Times are texts in ISO 8601, JSON columns are texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Float, Integer, LargeBinary, Select, Table, TypeDecorator, or_, select

from crossover.errors import RegistryError
from crossover.registry import schema as s

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
FORMAT = 1
TABLES: tuple[type[s.Base], ...] = (
    *(s.StudyRow, s.DatasetRow, s.RunRow, s.StudyRunRow, s.AttemptRow, s.MetricRow, s.SeriesRow, s.PointRow),
    *(s.CheckpointRow, s.ItemScoresRow, s.AnalysisRow, s.VerdictRow, s.DeploymentRow, s.ServingMeasurementRow),
    s.ServingCrossoverRow,
)
"""Each behind those that it refers to."""
REFERENCES = {"study_id": "study", "run_id": "run", "metric_id": "metric_def", "series_id": "series"} | {
    "analysis_id": "analysis"
}


class ArchivedFile(BaseModel):
    """One table of an archive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=0)
    digest: str = Field(description="SHA-256 of the file, as `sha256:<64 hex digits>`.")


class ArchiveManifest(BaseModel):
    """What an archive holds, as its `manifest.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    study: str
    namespace: str
    revision: str = Field(description="Of the schema.")
    version: str = Field(description="Of the Crossover that made it.")
    created_at: str
    files: dict[str, ArchivedFile] = Field(description="By table.")

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(file.rows for file in self.files.values())


def table_of(row: type[s.Base]) -> Table:
    """The table of a class."""
    table = row.__table__
    assert isinstance(table, Table)  # noqa: S101 - declarative classes type it as FromClause
    return table


def belongs(row: type[s.Base], studies: Select[Any]) -> ColumnElement[bool]:
    """Whether a row of a table belongs to studies.

    Args:
        row: one of TABLES.
        studies: ids of the studies.
    """
    linked = select(s.StudyRunRow.run_id).where(s.StudyRunRow.study_id.in_(studies))
    promoted = select(s.DeploymentRow.run_id).where(s.DeploymentRow.study_id.in_(studies))
    runs = select(s.RunRow.id).where(or_(s.RunRow.id.in_(linked), s.RunRow.id.in_(promoted)))
    series = select(s.SeriesRow.id).where(s.SeriesRow.run_id.in_(runs))
    columns = table_of(row).c
    if row in (s.StudyRow, s.RunRow):
        return columns.id.in_(studies if row is s.StudyRow else runs)
    if row is s.MetricRow:
        return columns.id.in_(select(s.SeriesRow.metric_id).where(s.SeriesRow.run_id.in_(runs)))
    if row is s.VerdictRow:
        return columns.analysis_id.in_(select(s.AnalysisRow.id).where(s.AnalysisRow.study_id.in_(studies)))
    if "series_id" in columns:
        return columns.series_id.in_(series)
    return columns.study_id.in_(studies) if "study_id" in columns else columns.run_id.in_(runs)


def parquet_schema(table: Table, names: Sequence[str]) -> pa.Schema:
    """The types of a table's columns in its file: int64, float64, bytes or text."""
    import pyarrow as pa

    kinds = ((Float, pa.float64()), (Integer, pa.int64()), (LargeBinary, pa.binary()))

    def kind(name: str) -> pa.DataType:
        held = table.c[name].type
        stored = held.impl_instance if isinstance(held, TypeDecorator) else held
        return next((arrow for sql, arrow in kinds if isinstance(stored, sql)), pa.string())

    return pa.schema([pa.field(name, kind(name)) for name in names])


def not_an_archive(folder: Path, problem: str) -> RegistryError:
    """The error of a folder that is no archive, or not as it was written."""
    return RegistryError(
        "registry.not-an-archive",
        field="DIR",
        problem=f"{folder}: {problem}",
        remedy="name a folder that `crossover registry archive` wrote; nothing has been restored",
    )
