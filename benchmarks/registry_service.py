"""The registry service beside an MLflow server, on the same PostgreSQL server and machine, in one run.

    python -m benchmarks.registry_service --mlflow PYTHON

PYTHON is an interpreter of an environment with `pip install mlflow psycopg2-binary`; without it only our side is
measured. PostgreSQL is started with durable commits. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, inspect, text

from crossover.registry import MetricDef, Point, Registry, upgrade
from crossover.registry.closed_runs import compact
from crossover.registry.remote import RemoteRegistry
from crossover.study.identity import RunId
from tests.postgres import server

BATCH = 500
STUDY = "sha256:bench"
LOSS = MetricDef("loss", "nats", "lower", "exact")


def main() -> None:
    """Print the tables, each as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlflow", metavar="PYTHON", help="interpreter with MLflow")
    parser.add_argument("--batches", type=int, default=200, help=f"batches of {BATCH} points")
    parser.add_argument("--runs", type=int, default=10_000, help="runs to list and search")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, server(durable=True) as template:
        folder = Path(place)
        for name in ("ours", "mlflow"):
            _execute(template.format(database="postgres"), f"CREATE DATABASE {name}")
        ours = template.format(database="ours")
        upgrade(ours)
        with _service(ours, folder) as url:
            peer = template.format(database="mlflow") if options.mlflow else ""
            with _mlflow(options.mlflow, peer, folder) as peer_url:
                _ingest(ours, url, peer, peer_url, options.batches)
                _search(ours, url, peer, peer_url, options.runs)
            _client(url, folder)
            _writers(ours, url, folder)


def _ingest(ours: str, url: str, peer: str, peer_url: str, batches: int) -> None:
    """One writer, batches of 500 points of one metric; both sides in turns, so that noise hits both alike."""
    with Registry.open(ours) as registry:
        registry.register_study(name="ingest", digest=STUDY, config={})
        registry.register_run(STUDY, RunId("c", "ar", 0), "sha256:i", config={}, epoch_tokens=None)
    client = httpx.Client(timeout=60)
    attempt = _begin(client, url, "sha256:i")
    senders: dict[str, Callable[[int], None]] = {"Crossover": lambda i: _send(client, attempt, i * BATCH)}
    if peer_url:
        senders["MLflow"] = _mlflow_sender(client, peer_url)
    times: dict[str, list[float]] = {name: [] for name in senders}
    for i in range(batches + 5):
        for name, send in senders.items():
            began = time.perf_counter()
            send(i)
            times[name].append(time.perf_counter() - began)
    print(f"## Ingest: one writer, {batches} batches of {BATCH} points\n")
    print("| | p50, ms | p99, ms | points a second | bytes a point on disk |\n|---|---|---|---|---|")
    tables = {"Crossover": (ours, ("point",)), "MLflow": (peer, ("metrics",))}
    for name, seconds in times.items():
        kept = sorted(seconds[5:])
        database, names = tables[name]
        size = sum(_scalar(database, f"SELECT pg_total_relation_size('{t}')") for t in names)
        count = _scalar(database, f"SELECT COUNT(*) FROM {names[0]}")  # noqa: S608 - our own names
        rate = BATCH / statistics.fmean(kept)
        figures = (_ms(kept, 0.5), _ms(kept, 0.99), f"{rate:,.0f}", f"{size / count:.0f}")
        print(f"| {name} | {' | '.join(figures)} |")
    if peer_url:
        ratio = statistics.median(times["MLflow"][5:]) / statistics.median(times["Crossover"][5:])
        print(f"\nMedian batch: {ratio:.1f} times faster than MLflow.")
    print(flush=True)
    _closed(client, ours, attempt)


def _closed(client: httpx.Client, ours: str, attempt: str) -> None:
    """The same points when their run is closed."""
    _json(client.post(f"{attempt}/end", json={"reason": "done"}))
    count = int(_scalar(ours, "SELECT COUNT(*) FROM point"))
    began = time.perf_counter()
    with Registry.open(ours) as registry:
        packed = compact(registry, closed_for=timedelta(seconds=-5))
    seconds = time.perf_counter() - began
    size = _scalar(ours, "SELECT pg_total_relation_size('point_chunk')")
    print(
        f"## The same {count:,} points, their run closed\n\n| packed | seconds | bytes a point on disk |\n|---|---|---|"
    )
    print(f"| {packed.points:,} | {seconds:.1f} | {size / count:.1f} |\n", flush=True)


def _search(ours: str, url: str, peer: str, peer_url: str, runs: int) -> None:
    """Pages of 100 runs among many, and a search by an arm's name or a tag.

    Both sides make one run over their own interface, which is then copied within their own tables under other names.
    """
    with Registry.open(ours) as registry:
        registry.register_study(name="many", digest="sha256:many", config={})
        registry.register_run("sha256:many", RunId("c0", "arm0", 0), "sha256:m0", config={"lr": 0}, epoch_tokens=None)
    arm = "'arm' || i % 50"
    changed = {"id": "", "digest": "'sha256:m' || i", "cell": "'c' || i % 10", "arm": arm, "seed": "i / 500"}
    _copy(ours, "run", "digest = 'sha256:m0'", runs, changed)
    every = "study s, run r WHERE s.name = 'many' AND r.digest LIKE 'sha256:m%'"
    _execute(ours, f"INSERT INTO study_run SELECT s.id, r.id FROM {every} ON CONFLICT DO NOTHING")  # noqa: S608 - our own
    _execute(ours, "ANALYZE")
    client = httpx.Client(timeout=300)
    asks: dict[str, dict[str, Callable[[], Any]]] = {
        "Crossover": {
            "list 100": lambda: _json(client.get(f"{url}/api/v1/runs?study=many&limit=100")),
            "search by arm": lambda: _json(client.get(f"{url}/api/v1/runs?study=many&arm=arm7&limit=100")),
        }
    }
    if peer_url:
        experiment = _mlflow_runs(peer, peer_url, runs)
        body = {"experiment_ids": [experiment], "max_results": 100}
        search = f"{peer_url}/api/2.0/mlflow/runs/search"
        asks["MLflow"] = {
            "list 100": lambda: _json(client.post(search, json=body)),
            "search by arm": lambda: _json(client.post(search, json=body | {"filter": "tags.arm = 'arm7'"})),
        }
    print(f"## List and search among {runs:,} runs\n\n| | request | p50, ms | p95, ms |\n|---|---|---|---|")
    for name, requests in asks.items():
        for label, ask in requests.items():
            ask()
            seconds = sorted(_timed(ask) for _ in range(40))
            print(f"| {name} | {label} | {_ms(seconds, 0.5)} | {_ms(seconds, 0.95)} |")
    print(flush=True)


def _client(url: str, folder: Path) -> None:
    """What one call costs a training step."""
    with RemoteRegistry(url, folder / "spool") as registry:
        registry.register_study(name="client", digest="sha256:c", config={})
        registry.register_run("sha256:c", RunId("c", "ar", 0), "sha256:c", config={}, epoch_tokens=None)
        attempt = registry.start_attempt("sha256:c", started_step=0)
        seconds = sorted(_timed(partial(attempt.record, LOSS, [_point(step)])) for step in range(1, 20_001))
        attempt.finish("done")
    print("## The client: one call of a training step, the service taking points meanwhile\n")
    print("| calls | p50, µs | p99, µs | p99.9, µs | longest, ms |\n|---|---|---|---|---|")
    micro = [f"{1e6 * seconds[int(q * len(seconds))]:.0f}" for q in (0.5, 0.99, 0.999)]
    print(f"| {len(seconds):,} | {' | '.join(micro)} | {1e3 * seconds[-1]:.1f} |\n", flush=True)


def _writers(ours: str, url: str, folder: Path, writers: int = 200, batches: int = 5) -> None:
    """Many training jobs at once."""
    with Registry.open(ours) as registry:
        registry.register_study(name="writers", digest="sha256:w", config={})
        for seed in range(writers):
            registry.register_run("sha256:w", RunId("c", "w", seed), f"sha256:w{seed}", config={}, epoch_tokens=None)
    errors: list[Exception] = []

    def write(seed: int) -> None:
        try:
            with RemoteRegistry(url, folder / f"w{seed}") as registry:
                attempt = registry.start_attempt(f"sha256:w{seed}", started_step=0)
                for batch in range(batches):
                    attempt.record(LOSS, [_point(batch * 100 + i) for i in range(100)])
                attempt.finish("done")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(writers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, sent = time.perf_counter() - began, writers * batches * 100
    stored = _scalar(ours, "SELECT COUNT(*) FROM v_curves WHERE study = 'writers'")
    print(f"## {writers} writers at once\n\n| points sent | stored | errors | seconds |\n|---|---|---|---|")
    print(f"| {sent:,} | {stored:,} | {len(errors)} | {seconds:.1f} |", flush=True)


def _begin(client: httpx.Client, url: str, run: str) -> str:
    path = f"{url}/api/v1/runs/{run}/attempts"
    process = {"host": "bench", "pid": 1, "holder": "bench/1/1"}
    return f"{path}/{_json(client.post(path, json={'started_step': 0, 'process': process}))['n']}"


def _send(client: httpx.Client, attempt: str, first: int) -> None:
    points = [
        {"step": s, "tokens": s * 4096, "flops": s * 1.1e12, "seconds": s / 7 + _noise(s), "value": _noise(s)}
        for s in range(first + 1, first + BATCH + 1)
    ]
    body = {"series": [{"metric": vars(LOSS), "points": points}]}
    _json(client.post(f"{attempt}/points", json=body, headers={"Idempotency-Key": f"bench-{first}"}))


def _noise(step: int) -> float:
    """Evenly over 0 to 1, with all bits of a float in use."""
    return step * 0.6180339887498949 % 1


def _mlflow_sender(client: httpx.Client, url: str) -> Callable[[int], None]:
    api = f"{url}/api/2.0/mlflow"
    experiment = _json(client.post(f"{api}/experiments/create", json={"name": "ingest"}))["experiment_id"]
    run = _json(client.post(f"{api}/runs/create", json={"experiment_id": experiment}))["run"]["info"]["run_id"]

    def send(i: int) -> None:
        steps = range(i * BATCH + 1, i * BATCH + BATCH + 1)
        metrics = [{"key": "loss", "value": s / 7, "timestamp": 1_700_000_000_000 + s, "step": s} for s in steps]
        _json(client.post(f"{api}/runs/log-batch", json={"run_id": run, "metrics": metrics}))

    return send


def _mlflow_runs(database: str, url: str, runs: int) -> str:
    """Runs with a tag each; returns their experiment."""
    api, client = f"{url}/api/2.0/mlflow", httpx.Client(timeout=60)
    experiment = str(_json(client.post(f"{api}/experiments/create", json={"name": "many"}))["experiment_id"])
    body = {"experiment_id": experiment, "tags": [{"key": "arm", "value": "arm0"}]}
    run = _json(client.post(f"{api}/runs/create", json=body))["run"]["info"]["run_id"]
    where, number = f"run_uuid = '{run}'", "md5(i::text)"
    _copy(database, "runs", where, runs, {"run_uuid": number, "name": "'run-' || i", "start_time": "start_time + i"})
    arm = "CASE WHEN key = 'arm' THEN 'arm' || i % 50 ELSE value END"
    _copy(database, "tags", where, runs, {"run_uuid": number, "value": arm})
    _execute(database, "ANALYZE")
    return experiment


def _copy(database: str, table: str, where: str, rows: int, changed: Mapping[str, str]) -> None:
    """Copy rows of a table until there are so many, columns changed by expressions of `i`; empty is their default."""
    engine = create_engine(database)
    columns = [column["name"] for column in inspect(engine).get_columns(table) if changed.get(column["name"], "x")]
    engine.dispose()
    values = ", ".join(changed.get(name, f'"{name}"') for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    select = f"SELECT {values} FROM {table}, generate_series(1, {rows - 1}) AS i WHERE {where}"  # noqa: S608 - our own
    _execute(database, f"INSERT INTO {table} ({names}) {select}")


@contextmanager
def _service(database: str, folder: Path) -> Iterator[str]:
    port = _free_port()
    command = [sys.executable, "-m", "crossover_services.registry", "--registry", database, "--port", str(port)]
    with _running(command, folder / "ours.log", f"http://127.0.0.1:{port}", "/readyz") as url:
        yield url


@contextmanager
def _mlflow(python: str | None, database: str, folder: Path) -> Iterator[str]:
    if python is None:
        yield ""
        return
    port = _free_port()
    store = database.replace("+psycopg:", "+psycopg2:")
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port), "--workers", "1"]
    with _running(command, folder / "mlflow.log", f"http://127.0.0.1:{port}", "/health") as url:
        yield url


@contextmanager
def _running(command: Sequence[str], log: Path, url: str, path: str) -> Iterator[str]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, cwd=log.parent)
    try:
        until = time.monotonic() + 180
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command[:4]} did not start: {log.read_text(errors='replace')[-2_000:]}")
            try:
                if httpx.get(f"{url}{path}").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
        process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _json(answer: httpx.Response) -> Any:  # noqa: ANN401  # whatever JSON says
    if not answer.is_success:
        raise SystemExit(f"{answer.request.url}: {answer.status_code} {answer.text[:500]}")
    return json.loads(answer.content) if answer.content else {}


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _point(step: int) -> Point:
    return Point(step, step, step, step, value=step / 7)


def _ms(seconds: Sequence[float], quantile: float) -> str:
    return f"{1_000 * seconds[min(len(seconds) - 1, int(quantile * len(seconds)))]:.1f}"


def _execute(url: str, sql: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(sql.replace("%", "%%"))
    engine.dispose()


def _scalar(url: str, sql: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        value = connection.scalar(text(sql))
    engine.dispose()
    return int(value or 0)


if __name__ == "__main__":
    main()
