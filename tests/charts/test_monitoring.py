"""Alerts and panels ask for metrics that the services have, and every alert has its section of the runbook."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import crossover_services.registry.app
import pytest
from crossover_services.predictor.engine_metrics import EngineCollector
from crossover_services.predictor.request_metrics import Metrics
from crossover_services.registry.access_control import AccessRules
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest

from crossover.decoding.engine import EngineState
from crossover.registry import Registry
from tests.charts.rendering import CHART, ROOT, find, render, values_of

RUNBOOK = (ROOT / "docs" / "kubernetes" / "runbook.md").read_text("utf-8")
OBJECTS = render(values_of(CHART / "ci" / "ha-values.yaml"))
RULES: list[dict[str, Any]] = [
    rule for group in find(OBJECTS, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads(find(OBJECTS, "ConfigMap", "dashboard")["data"]["crossover.json"])
OF_PROMETHEUS = {"up"}
OF_KUBE_STATE_METRICS = {
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas_available",
    "kube_job_status_failed",
}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of all series that the registry and the predictor have."""
    own = CollectorRegistry()
    Metrics(own).answered("/", 200)
    own.register(EngineCollector(lambda: EngineState(**dict.fromkeys((x.name for x in fields(EngineState)), 0))))
    path = tmp_path_factory.mktemp("metrics") / "r.sqlite"
    with Registry.open(f"sqlite:///{path}") as registry:
        app = crossover_services.registry.app.create_app(registry, AccessRules(open=True))
        client = TestClient(app)
        client.get("/healthz")
        text = client.get("/metrics").text + generate_latest(own).decode()
    return set(re.findall(r"^([a-z_]+)", text, re.MULTILINE))


def asked(expression: str) -> set[str]:
    """Names of the series in an expression."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|by \([^)]*\)", "", expression)
    words = {"absent", "sum", "max", "rate", "histogram_quantile"}
    return set(re.findall(r"[a-z][a-z_]+", bare)) - words


def test_alerts_ask_for_what_there_is(exposed: set[str]) -> None:
    known = exposed | OF_PROMETHEUS | OF_KUBE_STATE_METRICS
    for rule in RULES:
        assert asked(rule["expr"]), rule
        assert asked(rule["expr"]) <= known, rule


def test_panels_ask_for_what_there_is(exposed: set[str]) -> None:
    expressions = [t["expr"] for panel in DASHBOARD["panels"] for t in panel.get("targets", [])]
    assert len(expressions) >= 10
    for expression in expressions:
        assert asked(expression) <= exposed, expression


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_section_of_the_runbook(rule: dict[str, Any]) -> None:
    assert f"\n## {rule['alert']}\n" in RUNBOOK
    url, _, fragment = rule["annotations"]["runbook_url"].partition("#")
    assert url.endswith("/docs/kubernetes/runbook.md")
    assert fragment == rule["alert"].lower()
    assert rule["labels"]["severity"] in ("warning", "critical")


def test_every_section_is_of_an_alert() -> None:
    assert set(re.findall(r"^## (Crossover\w+)$", RUNBOOK, re.MULTILINE)) == {rule["alert"] for rule in RULES}


def test_expressions_have_balanced_brackets_and_our_names() -> None:
    for rule in RULES:
        for pair in ("()", "{}", "[]"):
            assert rule["expr"].count(pair[0]) == rule["expr"].count(pair[1])
    down = next(rule for rule in RULES if rule["alert"] == "CrossoverRegistryDown")
    assert down["expr"] == 'absent(up{namespace="studies",service="trial-crossover-registry"} == 1)'


def test_monitors_select_the_pods() -> None:
    service = find(OBJECTS, "Service")
    monitor = find(OBJECTS, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    runtime, pods = find(OBJECTS, "ServingRuntime")["spec"], find(OBJECTS, "PodMonitor")["spec"]
    assert pods["selector"]["matchLabels"].items() <= runtime["labels"].items()
    assert pods["podMetricsEndpoints"][0]["port"] == runtime["containers"][0]["ports"][0]["name"]
