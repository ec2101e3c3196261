"""Combinations that would lose data, leak a secret or never work end with the value and the remedy."""

from __future__ import annotations

from typing import Any

import pytest
from helm_python import HelmRenderError

from tests.charts.rendering import CHART, CI_VALUES, files, find, render, values_of

EXTERNAL = {"database": {"mode": "external", "external": {"existingSecret": "database"}}}
BUCKET = {"s3": {"bucket": "bucket"}}
CLEAR = {"name": "CROSSOVER_REGISTRY_URL", "value": "postgresql+psycopg://u:hush@db/x"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"registry": {"replicas": 2}}, "registry.replicas.*set database.mode=external"),
    ({"registry": {"autoscaling": {"enabled": True}}}, "registry.autoscaling.*set database.mode=external"),
    ({"database": {"mode": "external"}}, "database.external.existingSecret: empty.*name a secret"),
    ({"database": {"sqlLogin": {"existingSecret": "s"}}}, "database.sqlLogin.existingSecret.*set database.mode"),
    (
        EXTERNAL | {"registry": {"autoscaling": {"enabled": True, "minReplicas": 9}}},
        "registry.autoscaling.minReplicas.*lower it",
    ),
    ({"registry": {"terminationGracePeriodSeconds": 20}}, "terminationGracePeriodSeconds: shorter.*raise it"),
    ({"registry": {"serviceAccount": {"create": False}}}, "default service account would get.*name one"),
    (
        {
            "registry": {"allowedHosts": ["a"]},
            "monitoring": {"serviceMonitor": {"enabled": True}},
            "networkPolicy": {"clientNamespaces": ["monitoring"]},
        },
        "registry.allowedHosts: Prometheus.*leave it empty",
    ),
    ({"pipeline": {"mode": "api"}}, "s3.bucket: empty, and pipelines.*set it"),
    ({"kserve": {"enabled": True}}, "s3.bucket: empty, and kserve.*set it"),
    (
        BUCKET | {"pipeline": {"mode": "api"}, "registry": {"kubernetesAudience": "crossover"}},
        "registry.kubernetesAudience: the token.*set it to `cluster`",
    ),
    ({"ingress": {"enabled": True}}, "ingress.host: empty.*set it"),
    ({"ingress": {"enabled": True, "host": "h"}}, "ingress.tlsSecret: empty, and tokens.*name a secret"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs: empty; name the gateway"),
    (
        {"ingress": {"enabled": True, "host": "h", "tlsSecret": "t"}},
        "networkPolicy.clientNamespaces: empty, and ingress.enabled.*name it",
    ),
    ({"images": {"predictor": {"tag": "latest"}}}, "images.predictor.tag: `latest`.*name a version"),
    (
        {"kserve": {"storageContainer": {"image": {"tag": "latest"}}}},
        "kserve.storageContainer.image.tag: `latest`.*name a version",
    ),
    ({"registry": {"extraEnv": [CLEAR]}}, "registry.extraEnv: CROSSOVER_REGISTRY_URL holds a secret.*secretKeyRef"),
    (
        {"trainer": {"extraEnv": [{"name": "CROSSOVER_S3_SECRET_KEY", "value": "hush"}]}},
        "trainer.extraEnv: CROSSOVER_S3_SECRET_KEY holds a secret",
    ),
    (
        {"pipeline": {"profile": {"env": {"CROSSOVER_REGISTRY_TOKEN": "hush"}}}},
        "pipeline.profile.env: CROSSOVER_REGISTRY_TOKEN holds a secret.*env_from_secrets",
    ),
    (
        BUCKET | {"pipeline": {"mode": "native", "native": {"compiled": "a: b"}}},
        "pipeline.native.compiled: is no compiled pipeline; set it",
    ),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HelmRenderError, match=message) as raised:
        render(values)
    assert "hush" not in str(raised.value)


def test_a_secret_by_reference_is_fine() -> None:
    reference = {"name": "CROSSOVER_REGISTRY_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    container = find(render({"registry": {"extraEnv": [reference]}}), "Deployment")["spec"]["template"]["spec"]
    assert reference in container["containers"][0]["env"]


def test_no_secret_is_made_and_none_is_a_value() -> None:
    for path in CI_VALUES:
        assert "Secret" not in {document["kind"] for document in render(values_of(path))}


def test_nothing_depends_on_what_the_cluster_offers() -> None:
    for path in (CHART / "templates").rglob("*"):
        if path.is_file():
            assert "Capabilities" not in path.read_text("utf-8"), path
            assert "lookup" not in path.read_text("utf-8"), path
    assert files() == files()
