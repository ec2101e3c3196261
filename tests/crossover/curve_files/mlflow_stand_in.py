"""A stand-in for an MLflow tracking server: answers in the shape that MLflow 3 gave, in small pages.

MLflow is not among the dependencies of the tests. The three answers below were written after those of a real server;
`python -m benchmarks.registry_service --mlflow PYTHON` starts one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.crossover.curve_files.tracker_files import STARTED, runs

PAGE = 5
EXPERIMENTS = {"0": "Default", "7": "curves", "8": "others"}


@contextmanager
def mlflow_stand_in(*, token: str = "", experiments: Sequence[str] = ("0", "7")) -> Iterator[str]:
    """The address of a server with the runs of `tracker_files` in the experiment 7."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            self._answer(query)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, query: dict[str, Any]) -> None:
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                self._send(401, {"error_code": "UNAUTHENTICATED", "message": "who are you?"})
                return
            field, items = _items(urlsplit(self.path).path, query, experiments)
            first = int(query.get("page_token", 0))
            page: dict[str, Any] = {field: items[first : first + PAGE]}
            if first + PAGE < len(items):
                page["next_page_token"] = str(first + PAGE)
            self._send(200, page if page[field] else {})

        def _send(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _items(path: str, query: dict[str, Any], experiments: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
    written = dict(runs())
    if path.endswith("experiments/search"):
        return "experiments", [{"experiment_id": e, "name": EXPERIMENTS[e]} for e in experiments]
    if path.endswith("runs/search"):
        names = written if query["experiment_ids"] == ["7"] else {}
        latest = [{"key": key, "value": 1.0} for key in ("eval/loss", "lr")]
        return "runs", [
            {"info": {"run_id": f"id of {name}", "run_name": name}, "data": {"metrics": latest}} for name in names
        ]
    points = written[query["run_id"].removeprefix("id of ")]
    return "metrics", [
        {"key": query["metric_key"], "value": value, "timestamp": int(1000 * (STARTED + i)), "step": step}
        for i, (step, value) in enumerate(points)
    ]
