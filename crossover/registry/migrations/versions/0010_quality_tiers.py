"""Tiers of quality: the tier of a run's cell as a column, for filters.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

from crossover.registry.migrations.views_0010 import CHANGED, views

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIER = {"sqlite": "json_extract(config, '$.quality')", "postgresql": "config ->> 'quality'"}


def upgrade() -> None:
    """A column, empty but for runs whose configuration names a tier; then the views anew."""
    dialect = op.get_bind().dialect.name
    for view in reversed(CHANGED):
        op.execute(f"DROP VIEW {view}")
    op.add_column("run", sa.Column("quality_tier", sa.String(20), nullable=False, server_default=""))
    tier = TIER[dialect]
    op.execute(f"UPDATE run SET quality_tier = {tier} WHERE {tier} IN ('low', 'medium', 'high', 'all')")  # noqa: S608  # constants only
    statements = views(dialect)
    for view in CHANGED:
        op.execute(f"CREATE VIEW {view} AS {statements[view]}")
