"""The background writer: order, threads, and where exceptions come up."""

import threading
from collections.abc import Callable, Iterator

import pytest

from crossover.training.background_writer import BackgroundWriter


class FullDiskError(OSError):
    """What a job dies of."""


@pytest.fixture
def writer() -> Iterator[BackgroundWriter]:
    made = BackgroundWriter()
    yield made
    made.close()


def fail() -> None:
    raise FullDiskError(28, "No space left on device")


def poll_until(writer: BackgroundWriter, done: Callable[[], bool]) -> None:
    """Poll, without sleeping, until something has happened; the thread needs but a moment."""
    for _ in range(10_000_000):
        writer.poll()
        if done():
            return
    raise AssertionError("the follow-up never came")


def test_follow_ups_come_in_the_order_of_the_jobs(writer: BackgroundWriter) -> None:
    seen: list[str] = []
    for number in range(5):

        def job(number: int = number) -> int:
            seen.append(f"job {number}")
            return number

        writer.submit(job, lambda result: seen.append(f"then {result}"))
    writer.wait()
    assert seen == [f"{part} {number}" for number in range(5) for part in ("job", "then")]
    writer.wait()
    writer.poll()
    assert len(seen) == 10  # each follow-up once


def test_jobs_run_on_one_other_thread_and_follow_ups_on_the_callers(writer: BackgroundWriter) -> None:
    jobs: list[int] = []
    follow_ups: list[int] = []

    def then(thread: int) -> None:
        jobs.append(thread)
        follow_ups.append(threading.get_ident())

    for _ in range(3):
        writer.submit(threading.get_ident, then)
    poll_until(writer, lambda: len(jobs) == 3)
    assert set(follow_ups) == {threading.get_ident()}
    assert len(set(jobs)) == 1
    assert not set(jobs) & set(follow_ups)


def test_submit_and_poll_do_not_wait_for_their_job(writer: BackgroundWriter) -> None:
    gate = threading.Event()
    seen: list[bool] = []
    writer.submit(lambda: gate.wait(60), seen.append)
    writer.poll()
    assert seen == []
    gate.set()
    writer.wait()
    assert seen == [True]


def test_a_job_starts_only_when_the_one_before_is_followed_up(writer: BackgroundWriter) -> None:
    gate = threading.Event()
    seen: list[object] = []
    writer.submit(lambda: gate.wait(60), lambda _: seen.append("first"))
    opener = threading.Timer(0.0, gate.set)
    opener.start()
    writer.submit(lambda: list(seen), seen.append)  # waits
    writer.wait()
    opener.join()
    assert seen == ["first", ["first"]]


def test_a_job_that_fails_is_raised_by_wait_once_and_not_followed_up(writer: BackgroundWriter) -> None:
    seen: list[object] = []
    writer.submit(fail, seen.append)
    with pytest.raises(FullDiskError, match="No space"):
        writer.wait()
    writer.wait()
    assert seen == []


def test_a_job_that_fails_is_raised_by_poll(writer: BackgroundWriter) -> None:
    writer.submit(fail, lambda _: None)
    with pytest.raises(FullDiskError):
        poll_until(writer, lambda: False)


def test_a_job_that_fails_is_raised_by_the_next_submit_whose_job_does_not_run(writer: BackgroundWriter) -> None:
    seen: list[object] = []
    writer.submit(fail, seen.append)
    with pytest.raises(FullDiskError):
        writer.submit(lambda: seen.append("ran"), seen.append)
    writer.wait()
    assert seen == []
    writer.submit(lambda: "after", seen.append)
    writer.wait()
    assert seen == ["after"]


def test_a_follow_up_that_fails_is_raised_and_gone(writer: BackgroundWriter) -> None:
    seen: list[int] = []
    writer.submit(lambda: 0, lambda zero: seen.append(1 // zero))
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    writer.wait()


def test_closing_lets_the_job_finish_and_looks_at_nothing(writer: BackgroundWriter) -> None:
    seen: list[str] = []
    writer.submit(lambda: seen.append("ran"), lambda _: seen.append("followed up"))
    writer.close()
    assert seen == ["ran"]
    other = BackgroundWriter()
    other.submit(fail, lambda _: None)
    other.close()
