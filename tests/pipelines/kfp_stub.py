"""A stand-in for the API server of Kubeflow Pipelines, over HTTP: answers are made of kfp-server-api's own models.

It keeps pipelines, versions, experiments and runs in memory, refuses names that are taken as the server does, demands a
token if it is given one, and can be told to fail. What a run does is decided by the test.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_server_api as kfp

PREFIX = "/apis/v2beta1"


@dataclass
class KfpStub:
    """The state of the stand-in."""

    url: str = ""
    token: str = ""
    failures: list[int] = field(default_factory=list)
    """Status codes of the next answers, before anything is looked at."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    pipelines: dict[str, kfp.V2beta1Pipeline] = field(default_factory=dict)
    versions: dict[str, kfp.V2beta1PipelineVersion] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    """Version ID to the uploaded YAML."""
    experiments: dict[str, kfp.V2beta1Experiment] = field(default_factory=dict)
    runs: dict[str, kfp.V2beta1Run] = field(default_factory=dict)
    histories: list[list[tuple[str, str, str]]] = field(default_factory=list)
    """What the next answers about a run show: (task, state, error) of each task; the first entry is the run itself."""

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> tuple[int, object]:
        """Status and model of an answer."""
        for pattern, handle in (
            (r"GET /pipelines/names/([^/]+)", self._pipeline_by_name),
            (r"POST /pipelines", self._create_pipeline),
            (r"POST /pipelines/upload_version", self._upload_version),
            (r"GET /pipelines/([^/]+)/versions", self._list_versions),
            (r"GET /experiments", self._list_experiments),
            (r"POST /experiments", self._create_experiment),
            (r"GET /runs", self._list_runs),
            (r"POST /runs", self._create_run),
            (r"GET /runs/([^/]+)", self._get_run),
        ):
            if match := re.fullmatch(pattern, f"{method} {path}"):
                return handle(query, body, kind, *map(unquote, match.groups()))
        return 404, kfp.GoogleRpcStatus(code=5, message=f"no route {method} {path}")

    def _pipeline_by_name(self, _query: dict[str, str], _body: bytes, _kind: str, name: str) -> tuple[int, object]:
        found = next((p for p in self.pipelines.values() if p.name == name), None)
        return (200, found) if found else (404, kfp.GoogleRpcStatus(code=5, message=f"pipeline {name} not found"))

    def _create_pipeline(self, _query: dict[str, str], body: bytes, _kind: str) -> tuple[int, object]:
        given = json.loads(body)
        if any(p.name == given["name"] for p in self.pipelines.values()):
            return 409, kfp.GoogleRpcStatus(code=6, message=f"The name {given['name']} already exist")
        key = str(uuid.uuid4())
        self.pipelines[key] = kfp.V2beta1Pipeline(
            pipeline_id=key, name=given["name"], display_name=given["display_name"], description=given["description"]
        )
        return 200, self.pipelines[key]

    def _upload_version(self, query: dict[str, str], body: bytes, kind: str) -> tuple[int, object]:
        if any(v.display_name == query["name"] for v in self.versions.values()):
            return 409, kfp.GoogleRpcStatus(code=6, message=f"The name {query['name']} already exist")
        message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body, policy=HTTP)
        (part,) = message.iter_parts()
        key = str(uuid.uuid4())
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        self.packages[key] = content.decode()
        self.versions[key] = kfp.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"], pipeline_version_id=key, display_name=query["name"], name=query["name"]
        )
        return 200, self.versions[key]

    def _list_versions(self, query: dict[str, str], _body: bytes, _kind: str, pipeline: str) -> tuple[int, object]:
        """Two on a page."""
        found = [v for v in self.versions.values() if v.pipeline_id == pipeline]
        first = int(query.get("page_token") or 0)
        after = str(first + 2) if len(found) > first + 2 else None
        return 200, kfp.V2beta1ListPipelineVersionsResponse(
            pipeline_versions=found[first : first + 2], total_size=len(found), next_page_token=after
        )

    def _list_experiments(self, query: dict[str, str], _body: bytes, _kind: str) -> tuple[int, object]:
        (predicate,) = json.loads(query["filter"])["predicates"]
        found = [e for e in self.experiments.values() if e.display_name == predicate["stringValue"]]
        return 200, kfp.V2beta1ListExperimentsResponse(experiments=found or None)

    def _create_experiment(self, _query: dict[str, str], body: bytes, _kind: str) -> tuple[int, object]:
        given, key = json.loads(body), str(uuid.uuid4())
        if any(e.display_name == given["display_name"] for e in self.experiments.values()):
            return 409, kfp.GoogleRpcStatus(code=6, message="already exists")
        self.experiments[key] = kfp.V2beta1Experiment(experiment_id=key, display_name=given["display_name"])
        return 200, self.experiments[key]

    def _list_runs(self, query: dict[str, str], _body: bytes, _kind: str) -> tuple[int, object]:
        (predicate,) = json.loads(query["filter"])["predicates"]
        found = [
            r
            for r in self.runs.values()
            if r.experiment_id == query["experiment_id"] and r.display_name == predicate["stringValue"]
        ]
        return 200, kfp.V2beta1ListRunsResponse(runs=found or None)

    def _create_run(self, _query: dict[str, str], body: bytes, _kind: str) -> tuple[int, object]:
        given, key = json.loads(body), str(uuid.uuid4())
        version = given["pipeline_version_reference"]["pipeline_version_id"]
        if version not in self.versions:
            return 404, kfp.GoogleRpcStatus(code=5, message="no such version")
        self.runs[key] = kfp.V2beta1Run(
            run_id=key,
            display_name=given["display_name"],
            experiment_id=given["experiment_id"],
            runtime_config=kfp.V2beta1RuntimeConfig(parameters=given["runtime_config"]["parameters"]),
            service_account=given.get("service_account"),
            state="PENDING",
        )
        return 200, self.runs[key]

    def _get_run(self, _query: dict[str, str], _body: bytes, _kind: str, key: str) -> tuple[int, object]:
        run = self.runs[key]
        if self.histories:
            (_, run.state, error), *tasks = self.histories.pop(0)
            run.error = kfp.GoogleRpcStatus(message=error) if error else None
            run.run_details = kfp.V2beta1RunDetails(
                task_details=[
                    kfp.V2beta1PipelineTaskDetail(
                        task_id=str(number),
                        display_name=name,
                        state=state,
                        error=kfp.GoogleRpcStatus(message=text) if text else None,
                    )
                    for number, (name, state, text) in enumerate(tasks)
                ]
            )
        return 200, run


@contextmanager
def kfp_stub(token: str = "") -> Iterator[KfpStub]:
    """Serve the stand-in on loopback."""
    stub, encoder = KfpStub(token=token), kfp.ApiClient()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = parts.path.removeprefix(PREFIX)
            stub.requests.append((self.command, path))
            if stub.failures:
                status: int = stub.failures.pop(0)
                model: Any = kfp.GoogleRpcStatus(message="as the test wants")
            elif stub.token and self.headers.get("Authorization") != f"Bearer {stub.token}":
                status, model = 401, kfp.GoogleRpcStatus(code=16, message="Request header error")
            else:
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                kind = self.headers.get("Content-Type", "")
                status, model = stub.answer(self.command, path, query, body, kind)
            content = json.dumps(encoder.sanitize_for_serialization(model)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
