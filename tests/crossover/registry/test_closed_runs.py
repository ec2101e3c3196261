"""Points of closed runs in arrays: the same values to the last bit, and rows again when the run goes on."""

from __future__ import annotations

import math
import threading
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, update

from crossover.registry import MetricDef, Point, Registry
from crossover.registry import schema as s
from crossover.registry.closed_runs import Compaction, closed_point, compact
from crossover.registry.reads.run_detail import run_detail
from crossover.registry.reads.thin_curves import thin_curves
from crossover.registry.transactions import utc_now
from tests.crossover.registry.conftest import BPB, RUN, RUN_ID, STUDY, points, register

LOSS = MetricDef("training_loss", "nats", "lower", "exact", 0)
AT_ONCE = timedelta(seconds=-5)
EVERYTHING = "SELECT * FROM v_curves ORDER BY metric, step"
SUPERSEDED = "SELECT step, attempt, value FROM v_superseded ORDER BY attempt, step"
RUNS = "SELECT * FROM v_runs"


def _count(registry: Registry, row: type) -> int:
    with registry._engine.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(row)) or 0)


def _trained(registry: Registry, steps: int = 1200) -> None:
    """A run with two attempts, a roll-back of 300 steps, values that are no numbers, and uneven evaluations."""
    first = registry.start_attempt(RUN, started_step=0)
    first.record(LOSS, [_loss(step) for step in range(1, steps // 2)])
    second = registry.start_attempt(RUN, started_step=steps // 2 - 300)
    second.record(LOSS, [_loss(step) for step in range(steps // 2 - 299, steps)])
    second.finish("done")
    registry.record_points(RUN, BPB, points(3, 7, 8, 500))


def _loss(step: int) -> Point:
    value = {5: math.nan, 6: math.inf, 7: -math.inf, 8: 0.0, 9: 5e-324}.get(step, 1 / (step + 0.1))
    return Point(step, step * 4096, step * 1.1e12, step / 7, value)


def test_views_and_pages_are_the_same_before_and_after(registry: Registry) -> None:
    _trained(registry)
    before = [registry.query(sql) for sql in (EVERYTHING, SUPERSEDED, RUNS)]
    (run,) = (run_detail(registry, None, RUN).run.id,)
    thin = thin_curves(registry, None, [run], ["training_loss", BPB.name], most=20)
    assert len(before[1].rows) == 299 and len(before[0].rows) == 1203
    curves = registry.curves(STUDY, RUN_ID.cell)
    detail = run_detail(registry, None, RUN)

    assert compact(registry, closed_for=AT_ONCE) == Compaction(runs=1, points=1203 + 299, kept=0)

    assert _count(registry, s.PointRow) == 0
    assert (
        _count(registry, s.PointChunkRow) == 5
    )  # 599 of one attempt in three, 899 of the next in two, and four points
    assert [registry.query(sql) for sql in (EVERYTHING, SUPERSEDED, RUNS)] == before
    assert repr(registry.curves(STUDY, RUN_ID.cell)) == repr(curves)
    assert thin_curves(registry, None, [run], ["training_loss", BPB.name], most=20) == thin
    assert run_detail(registry, None, RUN) == detail
    assert compact(registry, closed_for=AT_ONCE) == Compaction(0, 0, 0)


def test_a_run_that_goes_on_has_rows_again(registry: Registry) -> None:
    _trained(registry)
    rows = registry.query(EVERYTHING).rows
    compact(registry, closed_for=AT_ONCE)
    registry.record_points(RUN, BPB, points(3, value=9.0))
    assert _count(registry, s.PointChunkRow) == 0
    changed = registry.query(EVERYTHING).rows
    assert [row for row in changed if row not in rows] == [
        row for row in changed if row[5] == BPB.name and row[10] == 3 and row[14] == 12.0
    ]

    compact(registry, closed_for=AT_ONCE)
    again = registry.start_attempt(RUN, started_step=1000)
    again.record(LOSS, [_loss(1001)])
    steps = registry.query("SELECT MAX(step), COUNT(*) FROM v_curves WHERE metric = 'training_loss'").rows
    assert steps == ((1001, 1001),)


def test_only_runs_that_ended_long_ago_are_packed(url: str) -> None:
    now = utc_now()
    clock = SetClock(now)
    with Registry.open(url, clock=clock) as registry:
        registry.register_study(name="demo", digest=STUDY, config={})
        register(registry, RUN_ID)
        attempt = registry.start_attempt(RUN, started_step=0)
        attempt.record(LOSS, [_loss(1)])
        assert compact(registry, closed_for=timedelta(0)).points == 0  # it is being trained
        attempt.finish("interrupted")
        assert compact(registry, closed_for=timedelta(0)).points == 0  # it may go on
        registry.start_attempt(RUN, started_step=1).finish("done")
        assert compact(registry, closed_for=timedelta(hours=1)).points == 0
        clock.at = now + timedelta(hours=2)
        assert compact(registry, closed_for=timedelta(hours=1)).points == 1


class SetClock:
    """A clock that is set by hand."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


FLOATS = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 2**53), st.integers(0, 2**62), FLOATS, FLOATS, st.floats(), st.none() | FLOATS),
        min_size=1,
        max_size=30,
        unique_by=lambda row: row[0],
    )
)
def test_any_point_comes_back_bit_for_bit(
    registry: Registry, rows: list[tuple[int, int, float, float, float, float]]
) -> None:
    registry.record_points(RUN, LOSS, [])
    with registry.writing() as connection:
        connection.execute(delete(s.PointChunkRow))
        connection.execute(delete(s.PointRow))
        connection.execute(update(s.RunRow).values(status="done"))
    registry.record_points(RUN, LOSS, [Point(*row) for row in rows])
    with registry._engine.connect() as connection:
        columns = [c.name for c in s.PointRow.__table__.columns]
        before = connection.execute(select(s.PointRow.__table__).order_by(s.PointRow.step)).all()
    packed = compact(registry, closed_for=AT_ONCE)
    assert packed.points + packed.kept == len(rows)
    assert packed.kept == 0 or registry.url.startswith("sqlite")  # whose own reading of numbers is not always exact
    with registry._engine.connect() as connection:
        table = closed_point if packed.points else s.PointRow.__table__
        after = connection.execute(select(*(table.c[name] for name in columns)).order_by(table.c.step)).all()
    assert list(map(repr, after)) == list(map(repr, before))


def test_points_that_the_database_would_change_stay_rows(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    _trained(registry, 700)
    rows = registry.query(EVERYTHING)
    monkeypatch.setattr("crossover.registry.closed_runs._same", lambda *_rows: False)
    packed = compact(registry, closed_for=AT_ONCE)
    assert packed.points == 0 and packed.kept > 60
    assert _count(registry, s.PointChunkRow) == 0
    assert registry.query(EVERYTHING) == rows


def test_two_that_pack_and_one_that_measures_at_once(registry: Registry, url: str) -> None:
    """Whoever is first: every point is there once, and the newest measurement counts."""
    _trained(registry, 700)
    wanted = [row[10] for row in registry.query(EVERYTHING).rows if row[5] == BPB.name]
    packed: list[int] = []

    def pack() -> None:
        with Registry.open(url) as own:
            for _ in range(5):
                packed.append(compact(own, closed_for=AT_ONCE).points)

    packers = [threading.Thread(target=pack) for _ in range(2)]
    for thread in packers:
        thread.start()
    for value in range(5):
        registry.record_points(RUN, BPB, points(3, 7, value=float(value)))
    for thread in packers:
        thread.join()
    assert len(packed) == 10
    rows = [row for row in registry.query(EVERYTHING).rows if row[5] == BPB.name]
    assert [row[10] for row in rows] == wanted  # in the order of steps
    assert {row[10]: row[14] for row in rows if row[10] in (3, 7)} == {3: 7.0, 7: 11.0}
