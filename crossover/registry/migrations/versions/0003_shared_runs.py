"""Runs are named by their own digest and serve several revisions of a study; outcomes name the baseline and the candidate.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from crossover.registry.migrations.views_0002 import VIEWS as OLD_VIEWS
from crossover.registry.migrations.views_0003 import VIEWS

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OUTCOMES = {"AR": "baseline", "DLM": "candidate", "no difference within δ": "equivalent"}
DIRECTIONS = {"AR→DLM": "baseline→candidate", "DLM→AR": "candidate→baseline"}


def upgrade() -> None:
    """Tables first, with what is in them; then the views anew."""
    for name in OLD_VIEWS:
        op.execute(f"DROP VIEW {name}")
    _share_runs()
    _rename_outcomes()
    _append_analyses()
    for name, statement in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {statement}")


def _share_runs() -> None:
    op.create_table(
        "study_run",
        sa.Column("study_id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_study_run_study_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_study_run_run_id")),
        sa.PrimaryKeyConstraint("study_id", "run_id", name=op.f("pk_study_run")),
    )
    op.create_index("ix_study_run_run_id", "study_run", ["run_id"])
    op.execute("INSERT INTO study_run (study_id, run_id) SELECT study_id, id FROM run")
    op.add_column("run", sa.Column("digest", sa.String(length=500), nullable=True))
    op.execute(
        "UPDATE run SET digest = 'legacy:' || (SELECT digest FROM study WHERE study.id = run.study_id)"
        " || ':' || cell || '/' || arm || '/seed-' || CAST(seed AS VARCHAR(20))"
    )
    with op.batch_alter_table("run") as batch:
        batch.drop_index("ix_run_study_id")
        batch.drop_constraint("uq_run_study_id_cell_arm_seed", type_="unique")
        batch.drop_constraint("fk_run_study_id", type_="foreignkey")
        batch.drop_column("study_id")
        batch.alter_column("digest", existing_type=sa.String(length=500), nullable=False)
        batch.create_unique_constraint("uq_run_digest", ["digest"])


def _rename_outcomes() -> None:
    """The old words were given by position, whatever the arms' names: 'AR' to the baseline, 'DLM' to the candidate."""
    with op.batch_alter_table("verdict") as batch:
        batch.alter_column("word", new_column_name="outcome", existing_type=sa.String(length=40), existing_nullable=False)
        batch.alter_column("direction", existing_type=sa.String(length=10), type_=sa.String(length=20))
    verdict = sa.table("verdict", sa.column("outcome"), sa.column("direction"))
    for column, names in ((verdict.c.outcome, OUTCOMES), (verdict.c.direction, DIRECTIONS)):
        for old, new in names.items():
            op.execute(sa.update(verdict).where(column == old).values({column: new}))


def _append_analyses() -> None:
    """An analysis that is recorded again after another one gets a row again, so that it is the newest."""
    with op.batch_alter_table("analysis") as batch:
        batch.drop_constraint("uq_analysis_study_id_cell_digest", type_="unique")
        batch.create_index("ix_analysis_study_id", ["study_id", "cell"])
