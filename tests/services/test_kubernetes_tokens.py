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
OWN_AUDIENCE = "https://kubernetes.default.svc.cluster.local"
"""Of the API server: what the token is for that every pod has."""
ACCOUNTS = {
    "pod-of-blue": ("system:serviceaccount:blue:pipeline-runner", [AUDIENCE]),
    "pod-of-red": ("system:serviceaccount:red:pipeline-runner", [AUDIENCE]),
    "for-another": ("system:serviceaccount:blue:pipeline-runner", ["another-service"]),
    "a-person": ("ada@example.org", [AUDIENCE]),
    "default-of-blue": ("system:serviceaccount:blue:pipeline-runner", [OWN_AUDIENCE]),
    "person-of-the-cluster": ("ada@example.org", [OWN_AUDIENCE]),
    "no-namespace": ("system:serviceaccount:blue", [OWN_AUDIENCE]),
    "empty-namespace": ("system:serviceaccount::runner", [OWN_AUDIENCE]),
}


class StandInApiServer(BaseHTTPRequestHandler):
    """Answers TokenReview in the form of authentication.k8s.io/v1."""

    reviews: list[dict[str, Any]]
    allowed = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reviews.append({"path": self.path, "own": self.headers["Authorization"]} | body)
        user, audiences = ACCOUNTS.get(body["spec"]["token"], ("", []))
        wanted = body["spec"].get("audiences") or [OWN_AUDIENCE]
        matching = [a for a in audiences if a in wanted]
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
def audience() -> str:
    return AUDIENCE


@pytest.fixture
def client(cluster: tuple[type[StandInApiServer], str], audience: str, tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "token").write_text("of this service\n")
    reviewer = TokenReviewer(audience, api=cluster[1], account=tmp_path)
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


@pytest.mark.parametrize("audience", ["cluster"])
def test_the_token_that_every_pod_has_is_for_the_cluster_itself(
    client: TestClient, cluster: tuple[type[StandInApiServer], str]
) -> None:
    assert get(client, "default-of-blue") == 200
    assert get(client, "default-of-blue", "/api/v1/runs?namespace=red") == 403
    assert get(client, "default-of-blue", "/api/v1/tokens") == 403
    (review,) = cluster[0].reviews
    assert review["spec"] == {"token": "default-of-blue"}  # no audiences: those of the API server


@pytest.mark.parametrize("audience", ["cluster"])
@pytest.mark.parametrize(
    "token", ["pod-of-blue", "for-another", "person-of-the-cluster", "no-namespace", "empty-namespace", "unknown"]
)
def test_for_the_cluster_no_other_token_is_taken(client: TestClient, token: str) -> None:
    assert get(client, token) == 401


@pytest.mark.parametrize("token", ["default-of-blue", "for-another", "a-person", "unknown", "eyJhbGciOiJub25lIn0.e30."])
def test_other_tokens_are_refused(client: TestClient, token: str) -> None:
    assert get(client, token) == 401


def test_a_cluster_that_does_not_answer_is_no_permission(
    client: TestClient, cluster: tuple[type[StandInApiServer], str]
) -> None:
    cluster[0].allowed = False
    assert get(client, "pod-of-red") == 503
    cluster[0].allowed = True
    assert get(client, "pod-of-red") == 200
