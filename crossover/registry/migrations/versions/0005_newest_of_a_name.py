"""Views count the newest deployment and analysis over all revisions of a study, which share its name.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

from crossover.registry.migrations.views_0003 import VIEWS as OLD_VIEWS
from crossover.registry.migrations.views_0005 import VIEWS

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The views that changed, anew."""
    for name, statement in VIEWS.items():
        if statement != OLD_VIEWS[name]:
            op.execute(f"DROP VIEW {name}")
            op.execute(f"CREATE VIEW {name} AS {statement}")
