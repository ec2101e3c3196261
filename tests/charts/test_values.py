"""values.yaml, its schema, its README and the templates say the same."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from helm_python import HelmRenderError
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft7Validator

from tests.chart_readme import PAGE, documented, page, value_at
from tests.charts.rendering import CHART, chart, files, pod_specs, render, values_of
from tests.charts.test_pod_security import breaches
from tests.charts.values_schema import SCHEMA, drawn, other, resolve, schema_at

TEXT = (CHART / "values.yaml").read_text("utf-8")
VALUES = yaml.safe_load(TEXT)
PATHS = [path for path, _ in documented(TEXT)]
EVERYTHING = values_of(CHART / "ci" / "ha-values.yaml")


def leaves(schema: dict[str, Any], prefix: str = "") -> list[str]:
    """Paths of all values that a schema names, down to those that users set as a whole."""
    found: list[str] = []
    for name, field in schema["properties"].items():
        inner = resolve(field)
        whole = (
            field.get("$ref", "") in ("#/$defs/resources", "#/$defs/affinity")
            or f"{prefix}{name}" == "pipeline.profile"
        )
        nested = inner.get("properties") and not whole
        found += leaves(inner, f"{prefix}{name}.") if nested else [prefix + name]
    return found


def with_value(values: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Values with one of them replaced."""
    name, _, rest = path.partition(".")
    return values | {name: with_value(values.get(name, {}), rest, value) if rest else value}


def test_the_schema_is_one_and_refuses_what_it_does_not_know() -> None:
    Draft7Validator.check_schema(SCHEMA)
    for values in ({"replicas": 2}, {"registry": {"replica": 2}}, {"images": {"registry": {"name": "x"}}}):
        with pytest.raises(Exception, match="additional properties"):
            chart().validate_schema(values)


def test_every_value_is_in_the_schema_and_documented() -> None:
    assert sorted(PATHS) == sorted(set(leaves(SCHEMA)) - {"global"})


def test_the_readme_is_that_of_the_values() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m tests.chart_readme`"


BUCKET = {"s3": {"bucket": "bucket"}}
ROUTE = {
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]},
    "networkPolicy": {"enabled": False},
}
PLAIN = {
    "ingress": {"enabled": True, "host": "h", "allowPlainHttp": True},
    "networkPolicy": {"enabled": False},
}
NATIVE = {"mode": "native", "native": {"compiled": "pipelineInfo: {name: other}"}}
BASES: dict[str, dict[str, Any]] = {  # of values that have no effect in EVERYTHING
    "pipeline.native.compiled": {"pipeline": {"mode": "native"}} | BUCKET,
    "registry.replicas": {"database": EVERYTHING["database"]},
    "tests.predictorModel": {"tests": {"predictorUrl": "http://p"}},
    "pipeline.namespace": {**EVERYTHING, "pipeline": {"mode": "api", "multiUser": True}},
    **{f"httpRoute.{name}": ROUTE for name in ("parentRefs", "hostnames", "annotations")},
    **{f"database.embedded.{name}": {} for name in ("existingClaim", "size", "storageClassName")},
}
CHANGED: dict[str, dict[str, Any]] = {  # of values that others must follow
    "database.mode": {},
    "httpRoute.enabled": ROUTE,
    "ingress.allowPlainHttp": PLAIN,
    "pipeline.mode": {},
    "pipeline.native.compiled": {"pipeline": NATIVE} | BUCKET,
    "registry.allowedHosts": {"registry": {"allowedHosts": ["a"]}},
    "registry.autoscaling.maxReplicas": with_value(EVERYTHING, "registry.autoscaling.maxReplicas", 9),
    "registry.kubernetesAudience": {"registry": {"kubernetesAudience": ""}},
    "registry.serviceAccount.create": {"registry": {"serviceAccount": {"create": False, "name": "n"}}},
    "registry.terminationGracePeriodSeconds": {"registry": {"terminationGracePeriodSeconds": 99}},
}


@pytest.mark.parametrize("path", PATHS)
def test_every_value_has_an_effect(path: str) -> None:
    base = BASES.get(path, EVERYTHING)
    changed = CHANGED.get(path)
    if changed is None:
        default = value_at(chart().merge_values(base), path)
        changed = with_value(base, path, other(schema_at(path), default))
    assert files(changed) != files(base)


@given(values=drawn(SCHEMA))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_whatever_the_schema_allows_renders_or_is_refused_with_a_remedy(values: dict[str, Any]) -> None:
    chart().validate_schema(values)
    try:
        objects = render(values)
    except HelmRenderError as error:
        assert re.match(r"execution error at \([^)]*\): [A-Za-z.0-9, ]+: ", str(error)), error
        assert re.search(r"; (set|name|raise|lower|take|leave) ", str(error)), error
        return
    for name, spec in pod_specs(objects):
        assert breaches(spec) == [], name
