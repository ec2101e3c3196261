"""One value a step in v_curves after a second evaluation; epochs and seconds in the views; item scores compressed.

Revision ID: 0002
Revises: 0001
"""

import json
import zlib

import sqlalchemy as sa
from alembic import op

from crossover.registry.migrations.views_0001 import VIEWS as OLD_VIEWS
from crossover.registry.migrations.views_0002 import VIEWS

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Tables first, with what is in them; then the views anew."""
    for name in OLD_VIEWS:
        op.execute(f"DROP VIEW {name}")
    op.add_column("run", sa.Column("epoch_tokens", sa.BigInteger(), nullable=True))
    _fill_epochs()
    _compress_items()
    for name, statement in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {statement}")


def _fill_epochs() -> None:
    connection = op.get_bind()
    dataset = sa.table("dataset", sa.column("id"), sa.column("study_id"), sa.column("manifest", sa.JSON))
    run = sa.table("run", sa.column("id"), sa.column("study_id"), sa.column("config", sa.JSON), sa.column("epoch_tokens"))
    budgets = {}
    for study, manifest in connection.execute(sa.select(dataset.c.study_id, dataset.c.manifest).order_by(dataset.c.id)):
        budgets[study] = {b.get("unique_tokens"): b.get("tokens") for b in manifest.get("budgets") or []}
    for number, study, config in connection.execute(sa.select(run.c.id, run.c.study_id, run.c.config)).all():
        tokens = budgets.get(study, {}).get(config.get("unique_tokens"))
        if isinstance(tokens, int) and tokens > 0:
            connection.execute(sa.update(run).where(run.c.id == number).values(epoch_tokens=tokens))


def _compress_items() -> None:
    connection = op.get_bind()
    keys = ("run_id", "step", "task")
    old = sa.table("item_scores", *map(sa.column, keys), sa.column("items", sa.JSON))
    rows = [
        {**{key: row[key] for key in keys}, "items": zlib.compress(json.dumps(row["items"]).encode())}
        for row in connection.execute(sa.select(old)).mappings()
    ]
    op.drop_table("item_scores")
    new = op.create_table(
        "item_scores",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task", sa.String(length=100), nullable=False),
        sa.Column("items", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_item_scores_run_id")),
        sa.PrimaryKeyConstraint("run_id", "step", "task", name=op.f("pk_item_scores")),
    )
    op.bulk_insert(new, rows)
