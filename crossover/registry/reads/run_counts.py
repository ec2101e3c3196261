"""How many runs are in which state, for whoever watches the registry."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from crossover.registry import schema as s
from crossover.registry.reads.read_filters import Namespaces, alive_runs, run_status, visible_runs
from crossover.registry.transactions import Transactions

STATUSES = ("planned", "running", "done", "failed", "interrupted", "lost")


def count_runs(registry: Transactions, namespaces: Namespaces) -> dict[str, int]:
    """The number of runs by status; those of deleted studies alone do not count.

    Args:
        registry: open.
        namespaces: to read.

    Raises:
        RegistryError: the database does not answer.
    """
    alive = alive_runs(registry.now())
    status = run_status(alive).label("status")
    statement = (
        select(status, func.count())
        .select_from(s.RunRow)
        .outerjoin(alive, alive.c.run_id == s.RunRow.id)
        .where(visible_runs(namespaces))
        .group_by(status)
    )

    def read(engine: Engine) -> dict[str, int]:
        with engine.connect() as connection:
            return {name: number for name, number in connection.execute(statement).all()}

    return dict.fromkeys(STATUSES, 0) | registry.reading(read)
