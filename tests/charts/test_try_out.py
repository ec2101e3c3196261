"""The services of examples/try-out: valid, restricted, and named as the values say."""

from __future__ import annotations

import re

import pytest
import yaml
from kubernetes_validate.utils import validate

from tests.charts.rendering import ROOT, Object, find, pod_specs, render, values_of
from tests.charts.test_pod_security import breaches

FOLDER = ROOT / "examples" / "try-out"
SERVICES: list[Object] = [
    document
    for path in ("seaweedfs", "postgresql")
    for document in yaml.safe_load_all((FOLDER / f"{path}.yaml").read_text("utf-8"))
]
MADE = re.findall(r"^ *(?:make|s3) (?:\w+|\"\$1\") ([-a-z0-9]+) ", (FOLDER / "make-secrets").read_text(), re.MULTILINE)


@pytest.mark.parametrize("document", SERVICES, ids=lambda d: f"{d['kind']}/{d['metadata']['name']}")
def test_kubernetes_accepts_it_and_it_is_restricted(document: Object) -> None:
    validate(document, "1.33", strict=True)
    for name, spec in pod_specs([document]):
        assert breaches(spec) == [], name
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert ":latest" not in container["image"]
            assert ":" in container["image"]


def named_secrets(value: object, of: str = "") -> set[str]:
    """Names of all secrets that something refers to."""
    if isinstance(value, list):
        return set().union(*(named_secrets(item) for item in value))
    if not isinstance(value, dict):
        return {str(value)} if of == "secretName" else set()
    own = {value["name"]} if of in ("secretKeyRef", "secretRef") else set()
    return own.union(*(named_secrets(item, name) for name, item in value.items()))


def test_every_secret_is_made() -> None:
    named = named_secrets([*SERVICES, *render(values_of(FOLDER / "values.yaml"))])
    assert {"postgresql", "seaweedfs-users", "crossover-s3", "crossover-database", "crossover-admin"} == named
    assert named <= set(MADE)


def test_the_values_lead_to_the_services() -> None:
    profile = yaml.safe_load(
        find(render(values_of(FOLDER / "values.yaml")), "ConfigMap", "profile")["data"]["profile.yaml"]
    )
    service = find(SERVICES, "Service", "seaweedfs")
    port = service["spec"]["ports"][0]["port"]
    assert profile["env"]["CROSSOVER_S3_ENDPOINT"] == f"http://{service['metadata']['name']}.crossover:{port}"
    assert profile["workspace"] == "s3://crossover/studies/demo"
