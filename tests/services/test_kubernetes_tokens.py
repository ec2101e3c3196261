"""Service accounts' tokens, against a stand-in for the Kubernetes API server, which no test machine has."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app
from crossover_services.registry.kubernetes_tokens import TokenReviewer
from fastapi.testclient import TestClient

from crossover.registry import Registry

AUDIENCE = "crossover-registry"
ACCOUNTS = {
    "pod-of-blue": ("system:serviceaccount:blue:pipeline-runner", [AUDIENCE]),
    "pod-of-red": ("system:serviceaccount:red:pipeline-runner", [AUDIENCE]),
    "for-another": ("system:serviceaccount:blue:pipeline-runner", ["another-service"]),
    "a-person": ("ada@example.org", [AUDIENCE]),
}


class StandInApiServer(BaseHTTPRequestHandler):
    """Answers TokenReview in the form of authentication.k8s.io/v1."""

    reviews: list[dict[str, Any]]
    allowed = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reviews.append({"path": self.path, "own": self.headers["Authorization"]} | body)
        user, audiences = ACCOUNTS.get(body["spec"]["token"], ("", []))
        matching = [a for a in audiences if a in body["spec"]["audiences"]]
        status: dict[str, Any] = {"authenticated": bool(matching)}
        if matching:
            status |= {"user": {"username": user}, "audiences": matching}
        self.send_response(201 if self.allowed else 403)
        self.end_headers()
        self.wfile.write(json.dumps(body | {"status": status}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cluster() -> Iterator[tuple[type[StandInApiServer], str]]:
    handler = type("Handler", (StandInApiServer,), {"reviews": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(cluster: tuple[type[StandInApiServer], str], tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "token").write_text("of this service\n")
    reviewer = TokenReviewer(AUDIENCE, api=cluster[1], account=tmp_path)
    with Registry.open(f"sqlite:///{tmp_path}/r.sqlite") as registry:
        yield TestClient(create_app(registry, AccessRules(reviewer=reviewer)))
    reviewer.close()


def get(client: TestClient, token: str, path: str = "/api/v1/runs") -> int:
    return client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_pod_has_rights_in_its_own_namespace(client: TestClient, cluster: tuple[type[StandInApiServer], str]) -> None:
    header = {"Authorization": "Bearer pod-of-blue"}
    study = {"name": "s", "digest": "sha256:s", "config": {}}
    assert client.post("/api/v1/studies", json=study, headers=header).status_code == 201
    assert get(client, "pod-of-blue") == 200
    assert get(client, "pod-of-blue", "/api/v1/runs?namespace=red") == 403
    assert get(client, "pod-of-blue", "/api/v1/tokens") == 403
    assert client.post("/api/v1/sql", json={"sql": "SELECT 1"}, headers=header).status_code == 403
    (review,) = cluster[0].reviews  # the answer is kept
    assert review["path"] == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert review["own"] == "Bearer of this service"
    assert review["spec"] == {"token": "pod-of-blue", "audiences": [AUDIENCE]}


@pytest.mark.parametrize("token", ["for-another", "a-person", "unknown", "eyJhbGciOiJub25lIn0.e30."])
def test_other_tokens_are_refused(client: TestClient, token: str) -> None:
    assert get(client, token) == 401


def test_a_cluster_that_does_not_answer_is_no_permission(
    client: TestClient, cluster: tuple[type[StandInApiServer], str]
) -> None:
    cluster[0].allowed = False
    assert get(client, "pod-of-red") == 503
    cluster[0].allowed = True
    assert get(client, "pod-of-red") == 200
