"""Two servers on one database are one service, also while one of them is a revision behind."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from crossover.registry import upgrade
from crossover.registry.migrate_schema import head_revision
from crossover.registry.remote import RemoteRegistry
from tests.crossover.registry.conftest import empty_url, url
from tests.crossover.registry.newer_revisions import newer_version, with_newer_revisions
from tests.services.registry_server import Server, serving
from tests.services.test_database_kills import statuses, write
from tests.services.test_registry_faults import STUDY, check, register, run

__all__ = ["empty_url", "url"]  # fixtures
pytestmark = pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
HOLDER = {"host": "node", "pid": 7, "holder": "boot/pid/7/1"}
OTHER = {"host": "node", "pid": 8, "holder": "boot/pid/8/1"}
METRIC = {"name": "loss", "unit": "nats", "direction": "lower", "estimator": "exact", "draws": 0}
WRITERS = 4


@pytest.fixture
def replicas(url: str, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with serving(url, tmp_path / "a") as first, serving(url, tmp_path / "b") as second:
        with RemoteRegistry(first.url, tmp_path / "spool") as registry:
            register(registry, WRITERS)
        yield first, second


def post(server: Server, path: str, body: object, key: str = "") -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return httpx.post(f"{server.url}/api/v1{path}", json=body, headers=headers, timeout=60)


def points(*steps: int) -> dict[str, object]:
    rows = [{"step": s, "tokens": s, "flops": s, "seconds": s, "value": s / 7} for s in steps]
    return {"series": [{"metric": METRIC, "points": rows}]}


def test_a_key_is_the_same_on_both(replicas: tuple[Server, Server], url: str) -> None:
    first, second = replicas
    attempts = f"/runs/{run(0)}/attempts"
    begin = {"started_step": 0, "process": HOLDER}
    assert post(first, attempts, begin, "begin").json() == post(second, attempts, begin, "begin").json() == {"n": 1}
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):  # the same request reaches both at once, several times
            body = points(*range(10 * number + 1, 10 * number + 11))
            sent = [pool.submit(post, server, f"{attempts}/1/points", body, f"k{number}") for server in replicas * 4]
            assert {(answer.result().status_code, answer.result().text) for answer in sent} == {(200, '{"points":10}')}
    assert post(second, f"{attempts}/1/points", points(999), "k0").json()["code"] == "registry.other-request"
    check(url, Counter((0, "loss", step) for step in range(1, 201)))


def test_a_lease_holds_on_both(replicas: tuple[Server, Server], url: str) -> None:
    first, second = replicas
    attempts = f"/runs/{run(0)}/attempts"
    assert post(first, attempts, {"started_step": 0, "process": HOLDER}).status_code == 201
    held = post(second, attempts, {"started_step": 0, "process": OTHER})
    assert (held.status_code, held.json()["code"], held.json()["pid"]) == (409, "registry.run-held", 7)
    assert post(second, f"{attempts}/1/heartbeat", {}).status_code == 200
    assert post(second, f"{attempts}/1/points", points(1)).status_code == 200
    assert post(first, f"{attempts}/1/points", points(1)).json()["code"] == "registry.step-backwards"
    assert post(second, f"{attempts}/1/end", {"reason": "interrupted"}).status_code == 200
    assert post(first, f"{attempts}/1/points", points(2)).json()["code"] == "registry.attempt-ended"
    with ThreadPoolExecutor(8) as pool:  # eight processes want the run at once
        wanted = [
            pool.submit(
                post, server, attempts, {"started_step": 1, "process": OTHER | {"pid": n, "holder": f"h/{n}/1"}}
            )
            for n, server in enumerate(replicas * 4)
        ]
        assert sorted(answer.result().status_code for answer in wanted) == [201, *[409] * 7]
    check(url, Counter({(0, "loss", 1): 1}))


def test_a_cursor_and_a_token_of_one_are_good_for_the_other(replicas: tuple[Server, Server]) -> None:
    cursor, seeds = None, []
    for server in itertools.cycle(replicas):
        parameters: dict[str, str | int] = {"study_digest": STUDY, "limit": 1}
        page = httpx.get(f"{server.url}/api/v1/runs", params=parameters | ({"cursor": cursor} if cursor else {})).json()
        seeds += [row["seed"] for row in page["rows"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seeds == list(range(WRITERS))


def test_a_token_that_one_revokes_is_refused_by_the_other(url: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    secret = tmp_path / "admin"
    secret.write_text("x" * 40)
    flags = ("--tokens", "--admin-token-file", str(secret))
    admin = {"Authorization": f"Bearer {'x' * 40}"}
    with serving(url, tmp_path / "a", *flags) as first, serving(url, tmp_path / "b", *flags) as second:
        body = {"name": "t", "scopes": ["read"], "namespaces": ["default"]}
        made = httpx.post(f"{first.url}/api/v1/tokens", json=body, headers=admin).json()
        bearer = {"Authorization": f"Bearer {made['token']}"}
        assert httpx.get(f"{second.url}/api/v1/runs", headers=bearer).status_code == 200
        assert httpx.delete(f"{second.url}/api/v1/tokens/{made['id']}", headers=admin).status_code == 204
        assert httpx.get(f"{first.url}/api/v1/runs", headers=bearer).status_code == 401


NEWER = """
import sys
from pathlib import Path
from crossover.registry import migrate_schema
migrate_schema.MIGRATIONS = Path(sys.argv.pop(1))
from crossover_services.registry.__main__ import main
sys.exit(main())
"""


def read_all_the_time(server: Server, stop: threading.Event) -> Counter[str]:
    """The answers to reads of every view and page, one after the other, until it is told to stop."""
    seen: Counter[str] = Counter()
    paths = ["/", *(f"/api/v1/{view}" for view in ("runs", "curves?limit=5", "attempts", "verdicts", "datasets"))]
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while not stop.is_set():
            for path in paths:
                answer = client.get(path)
                seen["read" if answer.status_code == 200 else answer.text] += 1
    return seen


def test_a_replica_goes_on_while_the_database_is_migrated(
    replicas: tuple[Server, Server], url: str, tmp_path: Path
) -> None:
    """Both write; the database is migrated; the second is replaced by one of the next version, the first goes on."""
    behind, replaced = replicas
    (ahead,), before = with_newer_revisions(tmp_path / "migrations", 1), head_revision()
    stop, errors = threading.Event(), list[Exception]()
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        writers = [
            pool.submit(write, (behind, replaced)[seed % 2], tmp_path / f"spool{seed}", seed, stop, errors)
            for seed in range(WRITERS)
        ]
        reader = pool.submit(read_all_the_time, behind, stop)
        try:
            while statuses(behind)[200] < 100:
                assert not errors
            with newer_version(tmp_path / "migrations"):
                assert upgrade(url) == (before, ahead)
            for server in replicas:
                assert httpx.get(f"{server.url}/readyz").json() == {"status": "ok"}
            replaced.stop()
            replaced.start("-c", NEWER, str(tmp_path / "migrations"))
            answered = statuses(behind)[200]
            while statuses(behind)[200] < answered + 100:
                assert not errors
        finally:
            stop.set()
        last = [writer.result() for writer in writers]
        seen = reader.result()
    assert errors == []
    assert set(seen) == {"read"}
    assert seen["read"] > 20
    assert set(statuses(behind)) <= {200, 201, 503}  # 503 where the migration and a write waited for each other
    with RemoteRegistry(behind.url, tmp_path / "spool") as registry:
        rows = registry.query("SELECT COUNT(*), SUM(later_" + ahead + ") FROM v_runs").rows
        assert [int(str(value)) for value in rows[0]] == [WRITERS, WRITERS]
    history = Counter((seed, "loss", step) for seed in range(WRITERS) for step in range(1, last[seed] + 1))
    with newer_version(tmp_path / "migrations"):
        check(url, history)


def test_two_revisions_ahead_is_too_far(replicas: tuple[Server, Server], url: str, tmp_path: Path) -> None:
    revisions = with_newer_revisions(tmp_path / "migrations", 2)
    with newer_version(tmp_path / "migrations"):
        upgrade(url)
    answer = httpx.get(f"{replicas[0].url}/readyz")
    assert answer.status_code == 503
    assert f"its schema {revisions[-1]} is unknown to this version" in answer.json()["problem"]
