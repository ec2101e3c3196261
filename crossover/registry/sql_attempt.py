"""An attempt that is recorded in a database."""

from __future__ import annotations

from collections.abc import Sequence

from crossover.registry.attempts import end_attempt, touch_attempt
from crossover.registry.registry_records import MetricDef, Point
from crossover.registry.transactions import Transactions
from crossover.registry.write_statements import insert_points, series_id


class SqlAttempt:
    """An attempt in a database; see `Attempt`."""

    def __init__(self, registry: Transactions, run_id: int, n: int) -> None:
        self._registry, self._run_id, self.n = registry, run_id, n
        self._series: dict[MetricDef, int] = {}

    def record(self, metric: MetricDef, points: Sequence[Point]) -> None:
        """See `Attempt.record`."""
        with self._registry.writing() as connection:
            touch_attempt(connection, self._run_id, self.n, self._registry.now())
            series = self._series.get(metric) or series_id(connection, self._run_id, metric)
            insert_points(connection, series, self.n, points)
        self._series[metric] = series

    def heartbeat(self) -> None:
        """See `Attempt.heartbeat`."""
        with self._registry.writing() as connection:
            touch_attempt(connection, self._run_id, self.n, self._registry.now())

    def finish(self, reason: str) -> None:
        """See `Attempt.finish`."""
        with self._registry.writing() as connection:
            end_attempt(connection, self._run_id, self.n, reason, self._registry.now())
