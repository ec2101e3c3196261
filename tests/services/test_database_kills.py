"""What was recorded is there once when PostgreSQL itself is killed, and the service recovers without a restart."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from crossover.registry import upgrade
from crossover.registry.remote import RemoteRegistry
from tests.postgres import PostgresServer, killable_server
from tests.services.registry_server import Server, serving
from tests.services.test_registry_faults import LOSS, STUDY, check, point, register, run

KILLS, WRITERS = 5, 4


def register_and_record(server: Server, spool: Path) -> None:
    with RemoteRegistry(server.url, spool) as registry:
        register(registry, 1)
        registry.start_attempt(run(0), started_step=0).record(LOSS, [point(1)])


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """Of the test's own, and durable: what was committed must be there after a kill."""
    with killable_server(durable=True) as started:
        upgrade(started.url.format(database="postgres"))
        yield started


@pytest.fixture
def url(database: PostgresServer) -> str:
    return database.url.format(database="postgres")


@pytest.fixture
def server(url: str, tmp_path: Path) -> Iterator[Server]:
    with serving(url, tmp_path) as started:
        yield started


def statuses(server: Server) -> Counter[int]:
    """Of every answer that the server's log tells of."""
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    return Counter(line["status"] for line in lines if line["event"] == "request")


def wait_until_ready(server: Server) -> None:
    until = time.monotonic() + 30
    while httpx.get(f"{server.url}/readyz").status_code != 200:
        assert time.monotonic() < until, server.log
        time.sleep(0.02)


def write(server: Server, spool: Path, seed: int, stop: threading.Event, errors: list[Exception]) -> int:
    """Record points in small batches, in several attempts, until it is told to stop; returns the last step."""
    step = 0
    try:
        with RemoteRegistry(server.url, spool) as registry:
            while not stop.is_set():
                attempt = registry.start_attempt(run(seed), started_step=step)
                for _ in range(20):
                    attempt.record(LOSS, [point(step + i) for i in range(1, 11)])
                    step += 10
                    registry.flush()
                attempt.finish("done")
    except Exception as error:
        errors.append(error)
    return step


def test_postgresql_is_killed_again_and_again(
    database: PostgresServer, server: Server, url: str, tmp_path: Path
) -> None:
    with RemoteRegistry(server.url, tmp_path / "spool") as registry:
        register(registry, WRITERS)
    stop, errors, last = threading.Event(), list[Exception](), [0] * WRITERS

    def writer(seed: int) -> None:
        last[seed] = write(server, tmp_path / f"spool{seed}", seed, stop, errors)

    threads = [threading.Thread(target=writer, args=(seed,)) for seed in range(WRITERS)]
    for thread in threads:
        thread.start()
    chance = random.Random(3)  # noqa: S311 - a test's
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.2, 0.7))
            before = statuses(server)[200]
            database.kill()
            assert before > 0
            answer = httpx.get(f"{server.url}/readyz")
            assert (answer.status_code, answer.json()["status"]) == (503, "unusable")
            database.start()
            wait_until_ready(server)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    seen = statuses(server)
    assert set(seen) <= {200, 201, 503}, seen
    assert seen[503] > KILLS  # writes, too, and not readiness alone
    check(url, Counter((seed, "loss", step) for seed in range(WRITERS) for step in range(1, last[seed] + 1)))


def test_a_database_that_is_away_is_a_problem_and_no_bug(
    database: PostgresServer, server: Server, tmp_path: Path
) -> None:
    api = f"{server.url}/api/v1"
    study = {"name": "demo", "digest": STUDY, "config": {}}
    assert httpx.post(f"{api}/studies", json=study).status_code == 201
    assert httpx.get(f"{server.url}/", headers={"Accept": "text/html"}).status_code == 200
    with httpx.stream("GET", f"{api}/studies/{STUDY}/live", params={"metric": "loss"}, timeout=60) as tail:
        lines = tail.iter_lines()
        assert next(lines) == ": nothing new"
        database.kill()
        for answer in (
            httpx.post(f"{api}/studies", json=study, headers={"Idempotency-Key": "k"}),
            httpx.get(f"{api}/runs"),
            httpx.get(f"{api}/runs?format=csv"),
            httpx.post(f"{api}/sql", json={"sql": "SELECT 1"}),
            httpx.get(f"{api}/tokens"),
        ):
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (503, "registry.unusable"), answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["Retry-After"]
        page = httpx.get(f"{server.url}/", headers={"Accept": "text/html"})
        assert page.status_code == 503
        assert "<html" in page.text
        assert httpx.get(f"{server.url}/healthz").status_code == 200  # the process lives
        database.start()
        wait_until_ready(server)
        register_and_record(server, tmp_path / "spool")
        assert any(line.startswith("data: ") for line in lines)  # the same tail goes on
    assert set(statuses(server)) <= {200, 201, 503}


def test_a_query_during_which_the_database_is_killed_is_no_bad_query(database: PostgresServer, server: Server) -> None:
    with ThreadPoolExecutor() as pool:
        running = pool.submit(httpx.post, f"{server.url}/api/v1/sql", json={"sql": "SELECT pg_sleep(60)"}, timeout=90)
        with psycopg.connect(
            host=str(database.folder), user=database.user, dbname="postgres", autocommit=True
        ) as watcher:
            while not watcher.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone():
                assert not running.done(), running.result().text
        database.kill()
        assert (running.result().status_code, running.result().json()["code"]) == (503, "registry.unusable")
