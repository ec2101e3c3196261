"""Serving crossovers: from how many concurrent requests on one family serves more than the other.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from crossover.registry.migrations.views_0009 import NEW, views

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """A table and its view."""
    op.create_table(
        "serving_crossover",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("baseline", sa.String(100), nullable=False),
        sa.Column("candidate", sa.String(100), nullable=False),
        sa.Column("baseline_checkpoint", sa.String(80), nullable=False),
        sa.Column("candidate_checkpoint", sa.String(80), nullable=False),
        sa.Column("setting", sa.JSON(), nullable=False),
        sa.Column("device", sa.String(250), nullable=False),
        sa.Column("outcome", sa.String(40), nullable=False),
        sa.Column("crossing_at", sa.Float(53), nullable=True),
        sa.Column("crossing_low", sa.Float(53), nullable=True),
        sa.Column("crossing_high", sa.Float(53), nullable=True),
        sa.Column("agreement", sa.Float(53), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_serving_crossover")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_serving_crossover_study_id")),
    )
    op.create_index("ix_serving_crossover_study_id", "serving_crossover", ["study_id"])
    op.execute(f"CREATE VIEW {NEW} AS {views(op.get_bind().dialect.name)[NEW]}")
