"""A registry behind its HTTP service, with the methods of `Registry`."""

from __future__ import annotations

import json
import math
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from crossover.errors import UnreachableError
from crossover.files import digest_of
from crossover.registry.attempts import start_when_free
from crossover.registry.process_identity import this_process
from crossover.registry.registry_records import MetricDef, Point, QueryResult, SavedCheckpoint, ServingMeasurement
from crossover.registry.remote.flusher import DRAIN_SECONDS, Flusher
from crossover.registry.remote.http_transport import HttpTransport
from crossover.registry.remote.spool import Entry
from crossover.registry.wire_format import MOST_POINTS, number_json
from crossover.study.identity import RunId
from crossover.url_masking import mask_password

_STOP_SECONDS = 5.0
"""How long an attempt that was interrupted waits for the server."""
_PAGE = 10_000

CHECK_SECONDS = 5.0
"""How long a check waits for a service that may be restarting."""


class RemoteRegistry:
    """An open registry service. Points of attempts go through a spool on disk; everything else waits for its answer.

    Args:
        url: of the service, `http(s)://host:port`.
        spool: folder of what the service has yet to take; on a disk that survives the process.
        namespace: of the studies; empty is that of the token.
        token: bearer token; empty for none.
        token_file: holds the token; None for none.

    Raises:
        RegistryError: from any method, when the service does not answer in ten minutes, or refuses.
        AccessError: from any method, when the token has no right to it.
    """

    def __init__(
        self, url: str, spool: Path, *, namespace: str = "", token: str = "", token_file: Path | None = None
    ) -> None:
        self._http = HttpTransport(url, namespace=namespace, token=token, token_file=token_file)
        place = digest_of([self._http.url, namespace]).removeprefix("sha256:")[:16]
        self._flusher = Flusher(self._http, spool / place)
        self._flusher.send_left_behind()

    @property
    def url(self) -> str:
        """The address, without passwords."""
        return mask_password(self._http.url)

    def close(self) -> None:
        """Send the rest and close all connections; raises where something could not be sent."""
        try:
            self._flusher.close()
        finally:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        try:  # the block's own error is the one to be seen
            self._flusher.close(_STOP_SECONDS)
        except Exception as error:
            value.add_note(f"registry: {error}") if value is not None else None
        finally:
            self._http.close()

    def flush(self) -> None:
        """Wait for the service to have everything; where it does not answer in a few seconds, the spool keeps it."""
        try:
            self._flusher.drain(_STOP_SECONDS)
        except UnreachableError as error:
            print(f"crossover: {error}", file=sys.stderr, flush=True)

    def register_study(self, *, name: str, digest: str, config: Mapping[str, object]) -> None:
        """See `Registry.register_study`."""
        self._post("/studies", {"name": name, "digest": digest, "config": dict(config)})

    def register_dataset(self, study_digest: str, digest: str, manifest: Mapping[str, object]) -> None:
        """See `Registry.register_dataset`."""
        self._post(f"/studies/{_quoted(study_digest)}/datasets", {"digest": digest, "manifest": dict(manifest)})

    def register_run(
        self,
        study_digest: str,
        run: RunId,
        run_digest: str,
        *,
        config: Mapping[str, object],
        epoch_tokens: int | None,
        checkpoints: Sequence[SavedCheckpoint] = (),
    ) -> None:
        """See `Registry.register_run`."""
        body = {"digest": run_digest, "cell": run.cell, "arm": run.arm, "seed": run.seed, "config": dict(config)}
        body |= {"epoch_tokens": epoch_tokens, "checkpoints": [vars(checkpoint) for checkpoint in checkpoints]}
        self._flusher.drain()  # an end of the run's attempt comes before
        self._post(f"/studies/{_quoted(study_digest)}/runs", body)

    def start_attempt(self, run_digest: str, *, started_step: int) -> RemoteAttempt:
        """See `Registry.start_attempt`."""
        path, process = f"/runs/{_quoted(run_digest)}/attempts", vars(this_process())

        def start(gone: str) -> int:
            body = {"started_step": started_step, "process": process, "gone": gone}
            return int(self._post(path, body)["n"])

        return RemoteAttempt(self._http, self._flusher, run_digest, start_when_free(start))

    def record_points(self, run_digest: str, metric: MetricDef, points: Sequence[Point]) -> None:
        """See `Registry.record_points`."""
        for part in _parts(points):
            self._post(f"/runs/{_quoted(run_digest)}/measurements", _series(metric, part))

    def record_checkpoint(self, run_digest: str, step: int, tokens: int, uri: str, digest: str) -> None:
        """See `Registry.record_checkpoint`; it is sent after the points that were recorded before."""
        body = {"step": step, "tokens": tokens, "uri": uri, "digest": digest}
        self._flusher.put(Entry(f"/runs/{_quoted(run_digest)}/checkpoints", body))

    def record_items(self, run_digest: str, step: int, task: str, items: Mapping[str, Any]) -> None:
        """See `Registry.record_items`."""
        self._post(f"/runs/{_quoted(run_digest)}/items", {"step": step, "task": task, "items": dict(items)})

    def record_analysis(self, study_digest: str, cell: str, analysis: Mapping[str, Any]) -> str:
        """See `Registry.record_analysis`."""
        body = {"cell": cell, "analysis": dict(analysis)}
        return str(self._post(f"/studies/{_quoted(study_digest)}/analyses", body)["digest"])

    def record_deployment(
        self,
        study_digest: str,
        run_digest: str,
        *,
        step: int,
        uri: str,
        digest: str,
        analysis_digest: str,
        reason: str,
        endpoint: str | None = None,
        revision: int | None = None,
        traffic: int | None = None,
    ) -> None:
        """See `Registry.record_deployment`."""
        body = {"run_digest": run_digest, "step": step, "uri": uri, "digest": digest}
        body |= {"analysis_digest": analysis_digest, "reason": reason}
        if endpoint is not None:  # a service of the version before knows no endpoints
            body |= {"endpoint": endpoint, "revision": revision, "traffic": traffic}
        self._post(f"/studies/{_quoted(study_digest)}/deployments", body)

    def record_serving(self, run_digest: str, measurement: ServingMeasurement) -> None:
        """See `Registry.record_serving`."""
        body = vars(measurement) | {"decoding": dict(measurement.decoding)}
        self._post(f"/runs/{_quoted(run_digest)}/serving", body)

    def record_serving_crossover(self, study_digest: str, comparison: Mapping[str, Any]) -> None:
        """See `Registry.record_serving_crossover`."""
        body = {"comparison": dict(comparison)}
        self._post(f"/studies/{_quoted(study_digest)}/serving-crossovers", body)

    def delete_study(self, name: str, *, actor: str) -> int:
        """See `Registry.delete_study`."""
        return int(self._post("/deletions", {"name": name})["revisions"])

    def restore_study(self, name: str, *, actor: str) -> int:
        """See `Registry.restore_study`."""
        return int(self._post("/restorations", {"name": name})["revisions"])

    def curves(self, study_digest: str, cell: str, metrics: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """See `Registry.curves`."""
        path = f"/studies/{_quoted(study_digest)}/cells/{_quoted(cell)}/curves"
        parameters = None if metrics is None else {"metric": list(metrics)}
        columns: dict[str, list[Any]] = self._http.send("GET", path, parameters=parameters)
        return columns | {"value": [float(value) for value in columns["value"]]}

    def attempts(self, study_digest: str, cell: str) -> list[tuple[RunId, int]]:
        """See `Registry.attempts`."""
        parameters = {"study_digest": study_digest, "cell": cell, "limit": _PAGE}
        rows = self._http.send("GET", "/runs", parameters=parameters)["rows"]
        return [(RunId(row["cell"], row["arm"], row["seed"]), row["attempts"]) for row in rows]

    def view_rows(self, view: str, filters: Mapping[str, object]) -> list[dict[str, Any]]:
        """See `Registry.view_rows`."""
        rows: list[dict[str, Any]] = self._http.send("GET", f"/{view}", parameters={**filters, "limit": _PAGE})["rows"]
        return rows

    def query(self, sql: str, *, limit: int = 10_000) -> QueryResult:
        """See `Registry.query`."""
        told = self._post("/sql", {"sql": sql, "limit": limit})
        return QueryResult(tuple(told["columns"]), tuple(map(tuple, told["rows"])), truncated=told["truncated"])

    def check(self) -> None:
        """See whether the service answers this caller; raises soon where it does not."""
        self._http.send("GET", "/runs", parameters={"limit": 1}, seconds=CHECK_SECONDS)

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        return self._http.send("POST", path, _json(body), key=uuid.uuid4().hex)


class RemoteAttempt:
    """An attempt at a run, recorded through the spool; see `Attempt`."""

    def __init__(self, http: HttpTransport, flusher: Flusher, run_digest: str, n: int) -> None:
        self._http, self._flusher, self.n = http, flusher, n
        self._path = f"/runs/{_quoted(run_digest)}/attempts/{n}"
        self._highest: dict[MetricDef, int] = {}

    def record(self, metric: MetricDef, points: Sequence[Point]) -> None:
        """See `Attempt.record`; returns as soon as the points are in the spool."""
        for part in _parts(points):
            highest = self._highest.get(metric, -1)
            again = any(point.step <= highest for point in part)
            self._highest[metric] = max(highest, *(point.step for point in part))
            entry = Entry(f"{self._path}/points", {"series": [_series(metric, part, again=again)]}, points=len(part))
            self._flusher.put(entry)

    def heartbeat(self) -> None:
        """See `Attempt.heartbeat`."""
        self._http.send("POST", f"{self._path}/heartbeat", b"{}", seconds=0)

    def finish(self, reason: str) -> None:
        """See `Attempt.finish`; waits for the server, briefly where the attempt did not end well."""
        self._flusher.put(Entry(f"{self._path}/end", {"reason": reason}))
        self._flusher.drain(DRAIN_SECONDS if reason == "done" else _STOP_SECONDS)


def _series(metric: MetricDef, points: Sequence[Point], *, again: bool = False) -> dict[str, Any]:
    return {"metric": vars(metric), "points": [_point(point) for point in points], "again": again}


def _point(point: Point) -> dict[str, Any]:
    stderr = point.stderr if point.stderr is not None and math.isfinite(point.stderr) else None
    # plain numbers: JSON knows none of numpy's
    body = {"step": int(point.step), "tokens": int(point.tokens), "flops": float(point.flops)}
    return body | {
        "seconds": float(point.seconds),
        "value": number_json(float(point.value)),
        "stderr": None if stderr is None else float(stderr),
    }


def _parts(points: Sequence[Point]) -> list[Sequence[Point]]:
    """As many points at a time as a request may hold."""
    return [points[i : i + MOST_POINTS] for i in range(0, len(points), MOST_POINTS)]


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=True).encode()


def _quoted(text: str) -> str:
    return quote(text, safe="")
