"""An attempt is held by one process: others wait, take over what is lost, and a process that lost its run stops."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from crossover.errors import RegistryError, RunHeldError
from crossover.registry import Registry, kept_alive
from crossover.registry.attempts import start_when_free
from crossover.registry.migrations.views_0006 import LEASE_SECONDS
from crossover.registry.process_identity import ProcessIdentity, is_gone, this_process
from tests.crossover.registry.conftest import BPB, RUN, RUN_ID, STUDY, points, register

OTHER = ProcessIdentity("node-7", 41, "another boot/pid:[7]/41/1000")
REASONS = "SELECT attempt, end_reason FROM v_attempts ORDER BY attempt"
STATUS = "SELECT status FROM v_runs"


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(url: str, clock: Clock) -> Iterator[Registry]:
    """A registry with one run and a clock of the test's."""
    with Registry.open(url, clock=clock) as opened:
        opened.register_study(name="demo", digest=STUDY, config={})
        register(opened, RUN_ID)
        yield opened


def test_two_processes_never_train_a_run_at_once(timed: Registry, clock: Clock) -> None:
    held = timed.begin_attempt(RUN, 0, OTHER)
    clock.advance(LEASE_SECONDS - 1)
    with pytest.raises(RunHeldError, match="trained by process 41 on node-7, last seen") as caught:
        timed.begin_attempt(RUN, 0, this_process())
    assert (caught.value.code, caught.value.holder) == ("registry.run-held", OTHER.holder)
    held.heartbeat()
    clock.advance(LEASE_SECONDS - 1)
    with pytest.raises(RunHeldError):
        timed.begin_attempt(RUN, 0, this_process())
    held.record(BPB, points(1))  # a sign of life, too
    clock.advance(LEASE_SECONDS - 1)
    with pytest.raises(RunHeldError):
        timed.begin_attempt(RUN, 0, this_process())
    assert timed.query(REASONS).rows == ((1, None),)


def test_a_lost_run_is_taken_over_and_its_process_may_write_no_more(timed: Registry, clock: Clock) -> None:
    lost = timed.begin_attempt(RUN, 0, OTHER)
    lost.record(BPB, points(1))
    clock.advance(LEASE_SECONDS)
    again = timed.begin_attempt(RUN, 1, this_process())
    with pytest.raises(RegistryError, match=r"attempt 1 has ended \(lost\)") as caught:
        lost.record(BPB, points(2))
    assert caught.value.code == "registry.attempt-ended"
    with pytest.raises(RegistryError, match="another process may train the run now"):
        lost.heartbeat()
    lost.finish("failed")
    again.record(BPB, points(2))
    assert timed.query(REASONS).rows == ((1, "lost"), (2, None))
    assert timed.query("SELECT step, attempt FROM v_curves ORDER BY step").rows == ((1, 1), (2, 2))


def test_views_say_lost_once_the_lease_is_over(timed: Registry, clock: Clock) -> None:
    """The views read the database's clock: the attempt begins in the past."""
    clock.advance(-LEASE_SECONDS - 5)
    attempt = timed.begin_attempt(RUN, 0, OTHER)
    assert timed.query(STATUS).rows == (("lost",),)
    assert timed.query(REASONS).rows == ((1, "lost"),)
    clock.advance(LEASE_SECONDS)
    attempt.heartbeat()
    assert timed.query(STATUS).rows == (("running",),)
    attempt.finish("done")
    clock.advance(-LEASE_SECONDS)
    assert timed.query(STATUS).rows == (("done",),)


def test_the_same_process_begins_again_at_once(timed: Registry) -> None:
    timed.start_attempt(RUN, started_step=0)
    assert timed.start_attempt(RUN, started_step=0).n == 2
    assert timed.query(REASONS).rows == ((1, "interrupted"), (2, None))


def test_a_killed_process_of_this_machine_is_known_to_be_gone(timed: Registry) -> None:
    code = "from crossover.registry.process_identity import this_process; print(this_process().holder); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        holder = child.stdout.readline().strip()
        timed.begin_attempt(RUN, 0, ProcessIdentity("here", child.pid, holder))
        assert not is_gone(holder)
        with pytest.raises(RunHeldError):
            timed.begin_attempt(RUN, 0, this_process())
        child.kill()
        child.wait()
    assert is_gone(holder)
    assert timed.start_attempt(RUN, started_step=0).n == 2  # without waiting
    assert timed.query(REASONS).rows == ((1, "lost"), (2, None))


def test_processes_elsewhere_are_never_known_to_be_gone() -> None:
    assert not is_gone(OTHER.holder)
    assert not is_gone(None)
    assert not is_gone("nonsense")
    assert not is_gone(this_process().holder)
    machine, pid, _ = this_process().holder.rsplit("/", 2)
    assert is_gone(f"{machine}/{pid}/1")  # the number was given to a later process


def test_waiting_ends_when_the_other_is_lost_or_has_shown_that_it_lives(
    timed: Registry, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin(gone: str) -> int:
        return timed.begin_attempt(RUN, 0, this_process(), gone).n

    held = timed.begin_attempt(RUN, 0, OTHER)
    waits: list[float] = []

    def beats(seconds: float) -> None:
        waits.append(seconds)
        clock.advance(seconds)
        if len(waits) == 3:
            held.heartbeat()

    with pytest.raises(RunHeldError, match="wait for that process, or stop it"):
        start_when_free(begin, sleep=beats)
    assert len(waits) == 3
    assert start_when_free(begin, sleep=clock.advance) == 2
    assert capsys.readouterr().err.count("waiting 120 seconds at most for a sign of life") == 2


def test_heartbeats_are_sent_while_training_takes_long(timed: Registry, clock: Clock) -> None:
    attempt = timed.begin_attempt(RUN, 0, OTHER)
    beat = "SELECT heartbeat_at > started_at FROM v_attempts"
    clock.advance(60)
    with kept_alive(attempt, seconds=0.01):
        until = datetime.now(UTC) + timedelta(seconds=20)
        while not timed.query(beat).rows[0][0]:
            assert datetime.now(UTC) < until
