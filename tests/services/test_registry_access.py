"""Who may do what: every route × scope × namespace; what is not allowed is refused."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from crossover_services.registry.access_control import AccessRules, Allowed
from crossover_services.registry.app import create_app
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from crossover.registry import Registry
from crossover.registry.access_tokens import SCOPES, create_token, revoke_token
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import empty_url, url

__all__ = ["empty_url", "url"]  # fixtures

OPEN = {"/healthz", "/readyz", "/metrics", "/static/{digest}/{file}"}
"""For the platform, and the looks of pages; without a token."""
ADMIN_TOKEN = "a" * 40
PROXIES = (ipaddress.ip_network("10.1.0.0/16"),)
BODIES = {
    "/studies": {"name": "s", "digest": "sha256:new", "config": {}},
    "/studies/{study}/datasets": {"digest": "sha256:d", "manifest": {"source": "x"}},
    "/studies/{study}/runs": {"digest": "sha256:r2", "cell": "c", "arm": "ar", "seed": 1, "config": {}},
    "/runs/{run}/attempts": {"started_step": 0, "process": {"host": "h", "pid": 1, "holder": "a/1/2"}},
    "/runs/{run}/attempts/{n}/heartbeat": {},
    "/runs/{run}/attempts/{n}/end": {"reason": "done"},
    "/runs/{run}/checkpoints": {"step": 1, "tokens": 1, "uri": "u", "digest": "sha256:c"},
    "/runs/{run}/items": {"step": 1, "task": "t", "items": {}},
    "/studies/{study}/analyses": {"cell": "c", "analysis": {"method": "m", "verdicts": []}},
    "/studies/{study}/deployments": {
        "run_digest": "sha256:r",
        "step": 1,
        "uri": "u",
        "digest": "sha256:c",
        "analysis_digest": "sha256:a",
        "reason": "",
    },
    "/sql": {"sql": "SELECT 1"},
    "/tokens": {"name": "t", "scopes": ["read"]},
}
_SERIES = {
    "metric": {"name": "m", "unit": "1", "direction": "lower", "estimator": "exact"},
    "points": [{"step": 1, "tokens": 1, "flops": 1, "seconds": 1, "value": 1}],
}
BODIES |= {"/runs/{run}/attempts/{n}/points": {"series": [_SERIES]}, "/runs/{run}/measurements": _SERIES}
PLACES = {"study": "sha256:s", "run": "sha256:r", "n": "1", "cell": "c", "view": "runs", "number": "99"}
PLACES |= {"team": "blue", "name": "of blue", "digest": "sha256:a", "file": "pages.css"}


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    """Two teams, each with a study and a run of the same digests."""
    with Registry.open(url) as opened:
        for namespace in ("blue", "red"):
            team = opened.within(namespace)
            team.register_study(name=f"of {namespace}", digest="sha256:s", config={})
            team.register_run("sha256:s", RunId("c", "ar", 0), "sha256:r", config={}, epoch_tokens=None)
        yield opened


@pytest.fixture
def app(registry: Registry) -> FastAPI:
    return create_app(registry, AccessRules(admin_token=ADMIN_TOKEN, proxies=PROXIES))


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


def token(registry: Registry, *scopes: str, namespaces: tuple[str, ...] | None = ("blue",)) -> dict[str, str]:
    """The header of a new token."""
    _, text = create_token(registry, "t", scopes=scopes, namespaces=namespaces, actor="test")
    return {"Authorization": f"Bearer {text}"}


def routes(app: FastAPI) -> Iterator[tuple[str, str, str | None]]:
    """Method, address and demanded scope of every route of the application."""
    included: list[Any] = [route for route in app.routes if hasattr(route, "effective_route_contexts")]
    found = [context for router in included for context in router.effective_route_contexts()]
    for route in [*(route for route in app.routes if isinstance(route, APIRoute)), *found]:
        if route.dependant is not None:
            demanded = {d.call.scope for d in _dependencies(route.dependant) if isinstance(d.call, Allowed)}
            assert len(demanded) <= 1, route.path
            for method in route.methods:
                yield method, route.path, next(iter(demanded), None)


def _dependencies(dependant: Dependant) -> Iterator[Dependant]:
    for inner in dependant.dependencies:
        yield inner
        yield from _dependencies(inner)


def _request(client: TestClient, method: str, path: str, headers: dict[str, str], **query: str) -> int:
    body = BODIES.get(path.removeprefix("/api/v1")) if method == "POST" else None
    return client.request(
        method, path.replace(":path}", "}").format(**PLACES), headers=headers, json=body, params=query
    ).status_code


def test_every_route_demands_a_scope(app: FastAPI) -> None:
    assert len(list(routes(app))) > 20
    without = {path for _, path, scope in routes(app) if scope is None}
    assert without == OPEN
    assert {scope for _, _, scope in routes(app)} >= {*SCOPES, None}


def test_every_route_scope_and_namespace(app: FastAPI, client: TestClient, registry: Registry) -> None:
    headers = {scope: token(registry, scope) for scope in SCOPES}
    everywhere = {scope: token(registry, scope, namespaces=None) for scope in SCOPES}
    for (method, path, demanded), scope in itertools.product(routes(app), SCOPES):
        if demanded is None or path.endswith("/live"):  # endless; its refusals are below
            continue
        name = f"{method} {path} with {scope}"
        refused = scope not in (demanded, "admin")
        status = _request(client, method, path, headers[scope])
        sees_all = path.endswith("/sql") or "/tokens" in path
        assert (status == 403) == (refused or sees_all), f"{name}: {status}"
        assert status < 500, f"{name}: {status}"
        assert _request(client, method, path, headers[scope], namespace="red") == 403, name
        assert (_request(client, method, path, everywhere[scope], namespace="red") == 403) == refused, name


def test_without_a_known_token_every_route_is_closed(app: FastAPI, client: TestClient, registry: Registry) -> None:
    now = datetime.now(UTC)
    number, revoked = create_token(registry, "t", scopes=SCOPES, namespaces=None, actor="test")
    revoke_token(registry, number, actor="test")
    past = Registry(registry._url, registry._engine, lambda: now - timedelta(days=2))
    _, expired = create_token(past, "t", scopes=SCOPES, namespaces=None, lifetime=timedelta(days=1), actor="test")
    wrong = (
        "",
        "Bearer",
        f"Bearer {revoked}",
        f"Bearer {expired}",
        f"Bearer {revoked[:-1]}",
        "Bearer xo_1_",
        "Bearer xo_99999999999999999999_x",
        "Bearer xo_1_'; DROP TABLE run; --",
        f"Bearer {ADMIN_TOKEN}x",
        f"Basic {ADMIN_TOKEN}",
    )
    for method, path, scope in routes(app):
        for text in wrong if path.endswith("/runs") else wrong[:3]:
            status = _request(client, method, path, {"Authorization": text})
            assert status == (200 if scope is None else 401), f"{method} {path} {text}"


def test_teams_do_not_see_each_other(client: TestClient, registry: Registry) -> None:
    blue, both = token(registry, "read", "write"), token(registry, "read", namespaces=("blue", "red"))
    rows = client.get("/api/v1/runs", headers=blue).json()["rows"]
    assert [(row["study"], row["namespace"]) for row in rows] == [("of blue", "blue")]
    assert len(client.get("/api/v1/runs", headers=both).json()["rows"]) == 2
    assert len(client.get("/api/v1/runs?namespace=red", headers=both).json()["rows"]) == 1
    assert client.get("/api/v1/runs?study=of red", headers=blue).json()["rows"] == []
    body = BODIES["/runs/{run}/measurements"]
    assert client.post("/api/v1/runs/sha256:r/measurements", json=body, headers=blue).status_code == 200
    assert registry.query("SELECT namespace, COUNT(*) FROM v_curves GROUP BY 1").rows == (("blue", 1),)
    red = token(registry, "read", namespaces=("red",))
    assert client.get("/api/v1/curves?format=csv", headers=red).text.count("\n") == 1


def test_only_the_proxy_may_name_a_person(registry: Registry) -> None:
    app = create_app(registry, AccessRules(proxies=PROXIES))
    person = {"X-Forwarded-User": "ada"}
    for address, status in (("10.1.2.3", 200), ("10.2.2.3", 401), ("testclient", 401)):
        client = TestClient(app, client=(address, 1))
        assert client.get("/api/v1/runs", headers=person).status_code == status, address
        assert client.get("/api/v1/runs").status_code == 401
    reader = TestClient(app, client=("10.1.2.3", 1))
    assert reader.post("/api/v1/studies", json=BODIES["/studies"], headers=person).status_code == 403


def test_tokens_are_made_listed_and_revoked_by_administrators(client: TestClient, registry: Registry) -> None:
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    made = client.post("/api/v1/tokens", json={"name": "ci", "scopes": ["read"], "days": 1}, headers=admin).json()
    header = {"Authorization": f"Bearer {made['token']}"}
    assert client.get("/api/v1/runs", headers=header).status_code == 200
    listed = client.get("/api/v1/tokens", headers=admin)
    assert listed.json()[0]["name"] == "ci"
    assert made["token"][-16:] not in listed.text
    assert client.delete(f"/api/v1/tokens/{made['id']}", headers=admin).status_code == 204
    assert client.get("/api/v1/runs", headers=header).status_code == 401
    assert client.delete("/api/v1/tokens/12345", headers=admin).status_code == 404
    events = registry.query("SELECT actor, action, subject FROM event ORDER BY id").rows
    assert events == (("admin", "token.create", f"{made['id']} ci"), ("admin", "token.revoke", str(made["id"])))
    for table in ("access_token", "ingest_request"):
        if not registry.url.startswith("postgresql"):
            answer = client.post("/api/v1/sql", json={"sql": f"SELECT * FROM {table}"}, headers=admin)
            assert answer.status_code == 400
