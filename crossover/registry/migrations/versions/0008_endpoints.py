"""The endpoint that a promotion reached: its name, revision and share of the traffic.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from crossover.registry.migrations.views_0008 import CHANGED, views

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that may be null; then the view anew."""
    op.execute(f"DROP VIEW {CHANGED}")
    op.add_column("deployment", sa.Column("endpoint", sa.String(250), nullable=True))
    op.add_column("deployment", sa.Column("revision", sa.BigInteger(), nullable=True))
    op.add_column("deployment", sa.Column("traffic", sa.Integer(), nullable=True))
    op.execute(f"CREATE VIEW {CHANGED} AS {views(op.get_bind().dialect.name)[CHANGED]}")
