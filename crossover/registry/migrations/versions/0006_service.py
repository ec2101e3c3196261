"""What a registry for several teams needs: namespaces, attempts with a lease, idempotent requests, tokens, events.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from crossover.registry.migrations.views_0005 import VIEWS as OLD_VIEWS
from crossover.registry.migrations.views_0006 import views

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Columns and tables; then the views anew."""
    for name in OLD_VIEWS:
        op.execute(f"DROP VIEW {name}")
    _namespaces()
    _leases()
    _requests()
    _access()
    _points()
    for name, statement in views(op.get_bind().dialect.name).items():
        op.execute(f"CREATE VIEW {name} AS {statement}")


def _namespaces() -> None:
    for table in ("study", "run"):
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("namespace", sa.String(100), nullable=False, server_default="default"))
            batch.drop_constraint(f"uq_{table}_digest", type_="unique")
            batch.create_unique_constraint(f"uq_{table}_namespace_digest", ["namespace", "digest"])


def _leases() -> None:
    op.add_column("attempt", sa.Column("holder", sa.String(250), nullable=True))
    op.add_column("attempt", sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True))


def _requests() -> None:
    op.create_table(
        "ingest_request",
        sa.Column("namespace", sa.String(100), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("body_digest", sa.String(80), nullable=False),
        sa.Column("answer", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "key", name=op.f("pk_ingest_request")),
    )
    op.create_index("ix_ingest_request_created_at", "ingest_request", ["created_at"])


def _access() -> None:
    op.create_table(
        "access_token",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(250), nullable=False),
        sa.Column("hash", sa.String(80), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("namespaces", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_token")),
        sa.UniqueConstraint("hash", name=op.f("uq_access_token_hash")),
    )
    op.create_table(
        "event",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(250), nullable=False),
        sa.Column("namespace", sa.String(100), nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("subject", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index("ix_event_at", "event", ["at"])


def _points() -> None:
    """A point's series is looked up or made in the same transaction; the database need not look it up for each again."""
    with op.batch_alter_table("point", table_kwargs={"sqlite_with_rowid": False}) as batch:
        batch.drop_constraint("fk_point_series_id", type_="foreignkey")
