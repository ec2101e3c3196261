"""What was recorded is there once, whatever is killed: client, server, or the network's answers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossover.errors import RegistryError
from crossover.registry import MetricDef, Point, Registry
from crossover.registry.remote import RemoteRegistry, http_transport
from crossover.registry.remote.spool import Entry, left_behind, open_journal
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import empty_url, url
from tests.services.registry_server import Server, serving

__all__ = ["empty_url", "url"]  # fixtures

STUDY = "sha256:s"
LOSS = MetricDef("loss", "nats", "lower", "exact")
NORM = MetricDef("norm", "1", "none", "none")
COUNT = "SELECT cell, arm, seed, metric, step, COUNT(*), MIN(value) FROM v_curves GROUP BY 1, 2, 3, 4, 5"


@pytest.fixture
def server(url: str, tmp_path: Path) -> Iterator[Server]:
    with serving(url, tmp_path) as started:
        yield started


def run(seed: int) -> str:
    return f"sha256:r{seed}"


def register(registry: Registry | RemoteRegistry, seeds: int) -> None:
    registry.register_study(name="demo", digest=STUDY, config={})
    for seed in range(seeds):
        registry.register_run(STUDY, RunId("c", "ar", seed), run(seed), config={}, epoch_tokens=10)


def point(step: int) -> Point:
    return Point(step, step, step, step, value=step / 7)


def check(url: str, sent: Counter[tuple[int, str, int]]) -> None:
    """The history: the multiset that was sent is the multiset that is stored."""
    with Registry.open_read_only(url) as registry:
        rows = registry.query(COUNT, limit=1_000_000).rows
        stored = Counter({(row[2], row[3], row[4]): row[5] for row in rows})
        assert stored == sent
        assert all(row[6] == row[4] / 7 for row in rows)  # type: ignore[operator]  # numbers of the points
        assert registry.query("SELECT COUNT(*) FROM point").rows == ((len(sent),),)


WRITER = """
import sys
from pathlib import Path
from crossover.registry.remote import RemoteRegistry
from tests.services.test_registry_faults import LOSS, NORM, point, run
url, spool, seed, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with RemoteRegistry(url, spool) as registry:
    attempt = registry.start_attempt(run(seed), started_step=0)
    print("started", flush=True)
    for step in range(1, last + 1):
        for metric in (LOSS, NORM):
            attempt.record(metric, [point(step)])
        if step % 100 == 0:
            print(step, flush=True)
    attempt.finish("done")
"""


def writer(server: Server, spool: Path, seed: int, last: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, server.url, str(spool), str(seed), str(last)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_trainer_loses_nothing_that_it_recorded(server: Server, url: str, tmp_path: Path) -> None:
    """Points are in the spool when `record` returns: the next process sends them, without waiting for training."""
    with RemoteRegistry(server.url, tmp_path / "spool") as registry:
        register(registry, 1)
    last = 0
    with writer(server, tmp_path / "spool", 0, 10**9) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = int(line) if line.strip().isdigit() else last
            if last >= 1_500:
                process.send_signal(signal.SIGKILL)
    assert last >= 1_500
    with RemoteRegistry(server.url, tmp_path / "spool") as registry:  # sends what is left
        steps = [row[0] for row in registry.query("SELECT MAX(step) FROM v_curves GROUP BY metric").rows]
        assert min(int(str(step)) for step in steps) >= last
        assert not list((tmp_path / "spool").rglob("*.jsonl"))
        again = registry.start_attempt(run(0), started_step=0)  # the other is known to be gone: no waiting
        assert again.n == 2
        again.finish("done")
    with Registry.open_read_only(url) as local:
        assert local.query("SELECT COUNT(*) - COUNT(DISTINCT metric_id * 1000000000 + step) FROM point p "
                           "JOIN series s ON s.id = p.series_id").rows == ((0,),)  # fmt: skip


def test_a_server_that_is_killed_again_and_again(server: Server, url: str, tmp_path: Path) -> None:
    seeds, last = 3, 2_000
    with RemoteRegistry(server.url, tmp_path / "spool") as registry:
        register(registry, seeds)
    writers = [writer(server, tmp_path / f"spool{seed}", seed, last) for seed in range(seeds)]
    for process in writers:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
    chance = random.Random(7)  # noqa: S311 - a test's
    for _ in range(4):
        time.sleep(chance.uniform(0.05, 0.6))
        server.kill()
        server.start()
    for process in writers:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    check(
        url, Counter((seed, m, step) for seed in range(seeds) for m in ("loss", "norm") for step in range(1, last + 1))
    )
    with Registry.open_read_only(url) as local:
        assert local.query("SELECT DISTINCT status FROM v_runs").rows == (("done",),)


def test_lost_answers_repeats_and_late_duplicates(
    server: Server, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of answer is lost at random, and what was sent before is sent once more, later, out of order."""
    monkeypatch.setattr(http_transport, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(http_transport, "LONGEST_PAUSE", 0.1)
    chance = random.Random(11)  # noqa: S311 - a test's
    with RemoteRegistry(server.url, tmp_path / "spool") as registry:
        register(registry, 2)
        attempts = [registry.start_attempt(run(seed), started_step=0) for seed in range(2)]
        http = registry._http
        really, sent = http._send_once, []

        def lossy(method: str, path: str, body: bytes | None, key: str, parameters: object) -> object:
            if chance.random() < 0.15:
                raise http._unreachable("was not reached")
            answer = really(method, path, body, key, None)
            sent.append((method, path, body, key))
            if chance.random() < 0.2:
                really(*chance.choice(sent), None)  # a duplicate from a network that kept it
            if chance.random() < 0.15:
                raise http._unreachable("answered, and the answer was lost")
            return answer

        http._send_once = lossy  # type: ignore[method-assign]  # replaced for the test
        step = [0, 0]
        for _ in range(1_500):
            seed = chance.randrange(2)
            count = chance.randint(1, 5)
            points = [point(step[seed] + i) for i in range(1, count + 1)]
            step[seed] += count
            for metric in (LOSS, NORM):
                attempts[seed].record(metric, points)
            if chance.random() < 0.02:
                time.sleep(0.02)
        for attempt in attempts:
            attempt.finish("done")
        http._send_once = really  # type: ignore[method-assign]  # replaced for the test
    check(url, Counter((s, m, i) for s in range(2) for m in ("loss", "norm") for i in range(1, step[s] + 1)))


def test_training_never_waits_for_a_server_that_is_away(
    server: Server, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = RemoteRegistry(server.url, tmp_path / "spool")
    register(registry, 1)
    attempt = registry.start_attempt(run(0), started_step=0)
    server.kill()
    longest = []
    for step in range(1, 1_001):
        began = time.perf_counter()
        attempt.record(LOSS, [point(step)])
        longest.append(time.perf_counter() - began)
    assert sorted(longest)[900] < 0.1  # a benchmark has the figures; a wait for the server would be seconds
    with pytest.raises(RegistryError) as caught:
        registry._flusher.drain(0.5)
    assert caught.value.code == "registry.undelivered"
    assert "does not answer: what is recorded waits in" in capsys.readouterr().err
    server.start()
    attempt.finish("done")
    registry.close()
    check(url, Counter((0, "loss", step) for step in range(1, 1_001)))


def test_what_the_server_refuses_is_kept_and_said(server: Server, tmp_path: Path) -> None:
    registry = RemoteRegistry(server.url, tmp_path / "spool")
    register(registry, 1)
    attempt = registry.start_attempt(run(0), started_step=0)
    taken = registry.start_attempt(run(0), started_step=0)  # the same process begins anew
    attempt.record(LOSS, [point(1)])
    with pytest.raises(RegistryError, match="attempt 1 has ended"):
        registry.flush()
    with pytest.raises(RegistryError, match="what was refused is in") as caught:
        taken.record(LOSS, [point(1)])
    assert caught.value.code == "registry.attempt-ended"
    (kept,) = (tmp_path / "spool").rglob("rejected/*.json")
    assert '"step": 1' in kept.read_text()
    with pytest.raises(RegistryError):
        registry.close()


def test_what_a_killed_process_left_is_no_fault_of_the_next(
    server: Server, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its run was taken over in the meantime; points of another run of it are recorded."""
    with RemoteRegistry(server.url, tmp_path / "spool") as registry:
        register(registry, 2)
        attempts = [registry.start_attempt(run(seed), started_step=0) for seed in range(2)]
        server.kill()
        for attempt in attempts:
            attempt.record(LOSS, [point(1)])
        registry._flusher._stop.set()  # as a killed process: nothing more is sent, and the journal's lock is gone
        assert registry._flusher._thread is not None
        registry._flusher._thread.join()
        assert registry._flusher._journal is not None
        registry._flusher._journal.close()
        registry._flusher._journal = None
    server.start()
    with Registry.open(url) as local:
        local.start_attempt(run(0), started_step=0)
    with RemoteRegistry(server.url, tmp_path / "spool"):
        assert "left by a process before: attempt: attempt 1 has ended" in capsys.readouterr().err
    check(url, Counter({(1, "loss", 1): 1}))
    assert len(list((tmp_path / "spool").rglob("rejected/*.json"))) == 1


def test_two_hundred_writers_at_once(server: Server, url: str, tmp_path: Path) -> None:
    writers, batches = 200, 3
    with RemoteRegistry(server.url, tmp_path / "spool") as registry:
        register(registry, writers)
    errors: list[Exception] = []

    def write(seed: int) -> None:
        try:
            with RemoteRegistry(server.url, tmp_path / f"s{seed}") as registry:
                attempt = registry.start_attempt(run(seed), started_step=0)
                for batch in range(batches):
                    attempt.record(LOSS, [point(batch * 50 + i) for i in range(1, 51)])
                    registry.flush()
                attempt.finish("done")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    check(url, Counter((seed, "loss", step) for seed in range(writers) for step in range(1, batches * 50 + 1)))


def test_a_torn_journal_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(Entry("/a", {"series": []}, 1))
    batch = journal.take(10)
    journal.append(Entry("/b", {}))
    os.write(journal._file.fileno(), b'{"path": "/c", "bo')
    journal._file.close()  # as a killed process does
    (again,) = left_behind(tmp_path)
    first, second = again.take(10), None
    assert first is not None
    assert batch is not None
    assert (first.key, first.path) == (batch.key, "/a")
    again.finish(first)
    second = again.take(10)
    assert second is not None
    assert second.path == "/b"
    assert list(left_behind(tmp_path)) == []  # it is locked
    again.finish(second)
    again.close()
    assert not list(tmp_path.iterdir())


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from crossover.errors import RegistryError
from crossover.registry.remote.spool import Entry, open_journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
journal, kept = open_journal(Path(sys.argv[1])), 0
for failures in range(2):
    try:
        while True:
            journal.append(Entry("/a", {"series": ["x" * (10 if failures else 260)]}, 1))
            kept += 1
    except RegistryError as error:
        assert error.code == "registry.spool-unwritable", error
print(kept)
"""


def test_a_full_disk_is_named_and_leaves_whole_lines(tmp_path: Path) -> None:
    """The file may not grow beyond 1,000 bytes; after a long entry that does not fit a short one may."""
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    (journal,) = left_behind(tmp_path)
    kept = 0
    while (batch := journal.take(10_000)) is not None:
        kept += len(batch.entries)
        journal.finish(batch)
    journal.close()
    assert kept == int(result.stdout) == 4


def test_a_promotion_that_is_sent_names_its_endpoint(server: Server, tmp_path: Path) -> None:
    with RemoteRegistry(server.url, tmp_path / "spool") as registry:
        register(registry, 1)
        places: tuple[dict[str, Any], ...] = ({}, {"endpoint": "kubeflow/winner", "revision": 3, "traffic": 100})
        for reached in places:
            registry.record_deployment(
                STUDY, run(0), step=1, uri="u", digest="sha256:d", analysis_digest="sha256:a", reason="r", **reached
            )
        rows = registry.view_rows("deployments", {"study": "demo"})
    assert [(row["endpoint"], row["revision"], row["traffic"]) for row in rows] == [
        (None, None, None),
        ("kubeflow/winner", 3, 100),
    ]
