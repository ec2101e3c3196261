"""Deployments name the analysis of their cell; before, they had a digest that no analysis in the registry has.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A deployment without its analysis gets the cell's newest at its time, on which promotion rested."""
    op.execute(
        """
        UPDATE deployment SET analysis_digest = COALESCE(
          (SELECT a.digest FROM analysis a JOIN run r ON r.cell = a.cell
           WHERE r.id = deployment.run_id AND a.study_id = deployment.study_id
             AND a.created_at <= deployment.created_at
           ORDER BY a.id DESC LIMIT 1),
          analysis_digest)
        WHERE NOT EXISTS (
          SELECT 1 FROM analysis a WHERE a.study_id = deployment.study_id AND a.digest = deployment.analysis_digest)
        """
    )
