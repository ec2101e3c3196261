"""Points of closed runs as arrays, deleted studies, costs of serving, and the differences behind verdicts.

Revision ID: 0007
Revises: 0006
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from crossover.registry.column_types import ArrayOf
from crossover.registry.migrations.views_0006 import views as old_views
from crossover.registry.migrations.views_0007 import views

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
WINDOWS = ("early", "late")


def upgrade() -> None:
    """Columns and tables; then the views anew."""
    dialect = op.get_bind().dialect.name
    for name in reversed(old_views(dialect)):
        op.execute(f"DROP VIEW {name}")
    if dialect == "postgresql":
        _narrow_points()
    op.add_column("study", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    _chunks()
    _serving()
    _differences()
    for name, statement in views(dialect).items():
        op.execute(f"CREATE VIEW {name} AS {statement}")


def _narrow_points() -> None:
    """Columns of 8 bytes first: a row of PostgreSQL, which aligns each, is 8 bytes shorter."""
    op.rename_table("point", "old_point")
    op.execute("ALTER TABLE old_point RENAME CONSTRAINT pk_point TO pk_old_point")
    op.create_table(
        "point",
        sa.Column("series_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("step", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("flops", sa.Float(53), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        sa.Column("value", sa.Float(53), nullable=True),
        sa.Column("attempt_n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("state", sa.String(4), nullable=False),
        sa.Column("stderr", sa.Float(53), nullable=True),
        sa.PrimaryKeyConstraint("series_id", "step", "attempt_n", name=op.f("pk_point")),
    )
    columns = "series_id, step, tokens, flops, seconds, value, attempt_n, state, stderr"
    op.execute(f"INSERT INTO point ({columns}) SELECT {columns} FROM old_point")  # noqa: S608 - names of this file
    op.drop_table("old_point")


def _chunks() -> None:
    numbers = ("last_flops", "last_seconds")
    arrays: dict[str, sa.types.TypeEngine[Any]] = {"steps": sa.BigInteger(), "tokens": sa.BigInteger(), "flops": sa.Float(53)}
    op.create_table(
        "point_chunk",
        sa.Column("series_id", ID, nullable=False),
        sa.Column("attempt_n", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("current", sa.SmallInteger(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("last_tokens", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Float(53), nullable=False) for name in numbers),
        sa.Column("step_stride", sa.BigInteger(), nullable=True),
        sa.Column("tokens_per_step", sa.BigInteger(), nullable=True),
        sa.Column("flops_per_step", sa.Float(53), nullable=True),
        *(sa.Column(name, ArrayOf(item), nullable=True) for name, item in arrays.items()),
        sa.Column("seconds", ArrayOf(sa.Float(53)), nullable=False),
        sa.Column("measured", ArrayOf(sa.Float(53)), nullable=False),
        sa.Column("states", ArrayOf(sa.Text()), nullable=True),
        sa.Column("stderrs", ArrayOf(sa.Float(53)), nullable=True),
        sa.PrimaryKeyConstraint("series_id", "attempt_n", "first_step", name=op.f("pk_point_chunk")),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_point_chunk_series_id")),
    )


def _serving() -> None:
    op.create_table(
        "serving_measurement",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_digest", sa.String(80), nullable=False),
        sa.Column("decoding", sa.JSON(), nullable=False),
        sa.Column("device", sa.String(250), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("tokens_per_second", sa.Float(53), nullable=False),
        sa.Column("first_token_p50", sa.Float(53), nullable=True),
        sa.Column("first_token_p99", sa.Float(53), nullable=True),
        sa.Column("quality_metric", sa.String(250), nullable=True),
        sa.Column("quality", sa.Float(53), nullable=True),
        sa.Column("quality_stderr", sa.Float(53), nullable=True),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_serving_measurement")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_serving_measurement_run_id")),
    )
    op.create_index("ix_serving_measurement_run_id", "serving_measurement", ["run_id"])


def _differences() -> None:
    """Copied out of the JSON of each analysis that has them."""
    for window in WINDOWS:
        for part in ("difference", "low", "high"):
            op.add_column("verdict", sa.Column(f"{window}_{part}", sa.Float(53), nullable=True))
    op.add_column("verdict", sa.Column("further_pairs", sa.Integer(), nullable=True))
    bind = op.get_bind()
    for number, result in bind.execute(sa.text("SELECT id, CAST(result AS TEXT) FROM analysis")).all():
        for position, verdict in enumerate(json.loads(result).get("verdicts", [])):
            values = {name: value for name, value in _columns(verdict).items() if value is not None}
            if values:
                changes = ", ".join(f"{name} = :{name}" for name in values)
                where = "WHERE analysis_id = :number AND position = :position"
                statement = sa.text(f"UPDATE verdict SET {changes} {where}")  # noqa: S608 - names of this file
                bind.execute(statement, values | {"number": number, "position": position})


def _columns(verdict: dict[str, Any]) -> dict[str, Any]:
    columns = {"further_pairs": verdict.get("further_pairs")}
    for window in WINDOWS:
        measured = verdict.get(window)
        if measured:
            low, high = measured["interval"]
            columns |= {f"{window}_difference": measured["mean"], f"{window}_low": low, f"{window}_high": high}
    return columns
