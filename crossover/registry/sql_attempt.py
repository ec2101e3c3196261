"""An attempt that is recorded in a database."""

from __future__ import annotations

from collections.abc import Sequence

from crossover.errors import RegistryError
from crossover.registry.attempts import end_attempt, touch_attempt
from crossover.registry.registry_records import MetricDef, Point
from crossover.registry.transactions import Transactions
from crossover.registry.write_statements import insert_points, last_step, series_id


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

    def append(self, series: Sequence[tuple[MetricDef, Sequence[Point], bool]]) -> int:
        """Record points of several metrics in one transaction; returns how many.

        Args:
            series: metrics with points at rising steps, and whether their steps were trained again after a roll-back.

        Raises:
            RegistryError: `registry.step-backwards` for a step that is not beyond those recorded, unless trained again.
        """
        with self._registry.writing() as connection:
            touch_attempt(connection, self._run_id, self.n, self._registry.now())
            for metric, points, again in series:
                number = series_id(connection, self._run_id, metric)
                last = None if again else last_step(connection, number, self.n)
                for point in points:
                    if last is not None and point.step <= last:
                        raise RegistryError(
                            "registry.step-backwards",
                            field=f"{metric.name} at step {point.step}",
                            problem=f"the attempt has recorded step {last} already",
                            remedy="send steps in order; start another attempt after a resume, and set `again` after a "
                            "roll-back",
                        )
                    last = None if again else point.step
                insert_points(connection, number, self.n, points)
        return sum(len(points) for _, points, _ in series)

    def heartbeat(self) -> None:
        """See `Attempt.heartbeat`."""
        with self._registry.writing() as connection:
            touch_attempt(connection, self._run_id, self.n, self._registry.now())

    def finish(self, reason: str) -> None:
        """See `Attempt.finish`."""
        with self._registry.writing() as connection:
            end_attempt(connection, self._run_id, self.n, reason, self._registry.now())
