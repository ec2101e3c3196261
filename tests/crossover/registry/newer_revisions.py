"""Revisions that this version does not have, as a later one would add them: they expand, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from crossover.registry import migrate_schema

EXPANDING = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{before}", None, None


def upgrade() -> None:
    for table in ("point", "run", "study"):  # the order in which writers do not take them
        op.add_column(table, sa.Column("later_{revision}", sa.Float(), nullable=True))
    op.create_table("later_{revision}", sa.Column("id", sa.Integer(), primary_key=True))
    op.create_index("ix_later_{revision}", "point", ["tokens"])
    for view in ("v_curves", "v_runs"):
        old = op.get_bind().exec_driver_sql(f"SELECT pg_get_viewdef('{{view}}'::regclass)").scalar().rstrip("; ")
        op.execute(f"CREATE OR REPLACE VIEW {{view}} AS SELECT old.*, 1 AS later_{revision} FROM ({{old}}) AS old")
"""


def with_newer_revisions(folder: Path, count: int) -> list[str]:
    """A folder of migrations with some more than this version has; returns their revisions.

    Args:
        folder: absent.
        count: how many.
    """
    shutil.copytree(migrate_schema.MIGRATIONS, folder)
    last = int(migrate_schema.head_revision())
    revisions = [f"{last + i:04}" for i in range(count + 1)]
    for before, revision in pairwise(revisions):
        (folder / "versions" / f"{revision}_later.py").write_text(EXPANDING.format(revision=revision, before=before))
    return revisions[1:]


@contextmanager
def newer_version(folder: Path) -> Iterator[None]:
    """This process is of the version that has these migrations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate_schema, "MIGRATIONS", folder)
        yield
