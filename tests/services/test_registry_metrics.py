"""What Prometheus reads of the registry service: how the runs are, besides the requests."""

from __future__ import annotations

from pathlib import Path

import pytest
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app
from fastapi.testclient import TestClient

from crossover.errors import RegistryError
from crossover.registry import Registry
from tests.crossover.registry.conftest import empty_url, url  # noqa: F401  # fixtures
from tests.services import registry_samples as samples
from tests.services.registry_samples import Clock


def test_runs_are_counted_by_their_status(url: str) -> None:  # noqa: F811  # the fixture
    clock = Clock()
    with Registry.open(url, clock=clock) as registry:
        client = TestClient(create_app(registry, AccessRules(open=True)))
        assert 'crossover_registry_runs{status="lost"} 0.0' in client.get("/metrics").text
        samples.being_run(registry, clock)
        samples.being_run(registry.within("team-a"), clock, "another")
        registry.delete_study("live", actor="test")
        text = client.get("/metrics").text
    counts = {line.split('"')[1]: line.split()[-1] for line in text.splitlines() if "registry_runs{" in line}
    assert counts["done"] == "2.0"
    assert counts["lost"] == "1.0"
    assert counts["running"] == "1.0"
    assert "crossover_registry_database_up 1.0" in text


def test_without_the_database_the_other_metrics_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise RegistryError("registry.unreachable", field="registry", problem="is away", remedy="wait")

    with Registry.open(f"sqlite:///{tmp_path}/r.sqlite") as registry:
        client = TestClient(create_app(registry, AccessRules(open=True)))
        client.get("/healthz")
        monkeypatch.setattr(type(registry), "reading", away)
        text = client.get("/metrics").text
    assert "crossover_registry_database_up 0.0" in text
    assert "crossover_registry_runs{" not in text
    assert "crossover_registry_requests_total" in text
