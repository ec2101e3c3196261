"""An MLflow tracking server, read over its REST API (2.0), without MLflow.

    https://mlflow.example.org/#/experiments/3        as the browser shows it
    https://mlflow.example.org/#my experiment         by name; without it, the server's only experiment

https://mlflow.org/docs/latest/rest-api.html: experiments/search, runs/search, metrics/get-history. Credentials are
those of MLflow's own client: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and
MLFLOW_TRACKING_PASSWORD.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from crossover.curve_files.table import error
from crossover.curve_files.trackers.tracked_series import TrackedSeries, series_of
from crossover.url_masking import mask_password

if TYPE_CHECKING:
    import httpx

Source = Path | str
"""A file or folder, or a server's address."""
_SECONDS = 60.0
_ATTEMPTS = 4
_RUNS, _POINTS = 1_000, 25_000
"""The largest pages that MLflow gives."""


def source_of(text: str) -> Source:
    """What a command line names: the address of a server, or a path."""
    return text if text.startswith(("http://", "https://")) else Path(text)


def read_mlflow_server(address: str, metrics: Sequence[str]) -> list[TrackedSeries]:
    """The metrics of every run of an experiment that is not deleted.

    Args:
        address: of the server, with the experiment behind `#`.
        metrics: names of those to read; a run need not have all.

    Raises:
        CurvesError: the server does not answer, refuses, or has no such experiment.
    """
    import httpx

    parts = urlsplit(address)
    base = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    transport = httpx.HTTPTransport(retries=_ATTEMPTS)
    with httpx.Client(base_url=base, timeout=_SECONDS, transport=transport, **_credentials(parts.username)) as client:
        server = _Server(client, mask_password(base))
        experiment = server.experiment(unquote(parts.fragment))
        found: list[TrackedSeries] = []
        for run in server.runs(experiment):
            info = run["info"]
            name = info.get("run_name") or info["run_id"]
            measured = {metric["key"] for metric in run.get("data", {}).get("metrics", [])}
            histories = {metric: server.history(info["run_id"], metric) for metric in metrics if metric in measured}
            started = min((time for points in histories.values() for *_, time in points), default=0.0)
            place = f"{server.name}, run {info['run_id']}"
            found += [series_of(name, metric, points, started, place) for metric, points in histories.items()]
    return found


def _credentials(user: str | None) -> dict[str, Any]:
    if user:  # of the address itself, which httpx reads
        return {}
    token, person = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_USERNAME")
    if token:
        return {"headers": {"Authorization": f"Bearer {token}"}}
    return {"auth": (person, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))} if person else {}


class _Server:
    def __init__(self, client: httpx.Client, name: str) -> None:
        self._client, self.name = client, name

    def experiment(self, wanted: str) -> str:
        """The id of the experiment that a fragment names."""
        body = {"max_results": _RUNS, "view_type": "ACTIVE_ONLY"}
        known: dict[str, str] = {
            e["experiment_id"]: e["name"] for e in self._pages("experiments/search", body, "experiments")
        }
        if number := re.match(r"/?experiments/(\d+)", wanted):
            wanted = number[1]
        ids = [i for i, name in known.items() if wanted in (i, name)]
        others = {i: name for i, name in known.items() if name != "Default"}
        if not wanted and len(others or known) == 1:
            return next(iter(others or known))
        if not ids:
            problem = f"{self.name} has no experiment {wanted!r}" if wanted else f"{self.name} has several experiments"
            listed = ", ".join(sorted(known.values())[:12]) or "none"
            raise error("no-experiment", "FILE", problem, f"name one behind #: there are {listed}")
        return ids[0]

    def runs(self, experiment: str) -> Iterator[dict[str, Any]]:
        """Runs that are not deleted."""
        body = {"experiment_ids": [experiment], "max_results": _RUNS, "run_view_type": "ACTIVE_ONLY"}
        return self._pages("runs/search", body, "runs")

    def history(self, run: str, metric: str) -> list[tuple[float, float, float]]:
        """Step, value and seconds of each record, in the order of their time."""
        query = {"run_id": run, "metric_key": metric, "max_results": _POINTS}
        points = [
            (float(m.get("step", 0)), float(m["value"]), int(m["timestamp"]) / 1000)
            for m in self._pages("metrics/get-history", query, "metrics", method="GET")
        ]
        return sorted(points, key=lambda point: (point[2], point[0]))

    def _pages(self, path: str, query: dict[str, Any], field: str, *, method: str = "POST") -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._ask(method, path, query | ({"page_token": token} if token else {}))
            yield from page.get(field, [])
            token = page.get("next_page_token", "")
            if not token:
                return

    def _ask(self, method: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
        import httpx

        sent: dict[str, Any] = {"params": query} if method == "GET" else {"json": query}
        try:
            answer = self._client.request(method, f"/api/2.0/mlflow/{path}", **sent)
            if answer.is_error:
                raise self._unreadable(f"answers {answer.status_code}: {answer.text[:200]}")
            page = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as problem:
            raise self._unreadable(str(problem) or type(problem).__name__) from problem
        if not isinstance(page, dict):
            raise self._unreadable("does not answer as MLflow does")
        return page

    def _unreadable(self, problem: str) -> Exception:
        remedy = "check the address, and MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return error("unreadable", "FILE", f"{self.name}: {' '.join(problem.split())}", remedy)
