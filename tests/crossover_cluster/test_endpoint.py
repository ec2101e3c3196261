"""Requests to a real predictor: what it serves, whether it answers, how well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from crossover_cluster.canary_support import worse
from crossover_cluster.endpoint import measure, open_channel, served_digest, try_requests, url_of
from crossover_cluster.kubernetes_api import Cluster
from crossover_cluster.promotion_records import Measured
from kubernetes.client import ApiClient, Configuration

from crossover.commands.serve_command import serving
from crossover.errors import ClusterError
from crossover.training.checkpoint_info import checkpoint_digest
from tests.services.conftest import write_checkpoint


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = write_checkpoint(tmp_path_factory.mktemp("served") / "c")
    with serving(folder) as url:
        yield url, checkpoint_digest(folder)


def test_a_predictor_is_asked_tried_and_measured(
    served: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")  # as in a pod: without the API server's proxy
    url, digest = served
    cluster = Cluster(ApiClient(Configuration()), "models")
    send = open_channel(cluster, url)
    assert served_digest(send) == digest
    try_requests(send, "crossover")
    with pytest.raises(ClusterError, match=r"does not answer a trial request.*404"):
        try_requests(send, "another")
    nobody = open_channel(cluster, "http://127.0.0.1:9")
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
        served_digest(nobody)
    stable, canary = measure([send, nobody], "crossover", rounds=1)
    assert (stable.requests, stable.errors, canary.errors) == (6, 0, 6)
    assert 0 < stable.p50_seconds <= stable.p95_seconds
    assert "6 of 6 requests failed" in worse(stable, canary)


@pytest.mark.parametrize(("seconds", "bad"), [(0.9, False), (2.9, False), (3.1, True)])
def test_a_canary_may_be_slower_but_not_much(seconds: float, bad: bool) -> None:
    one = Measured(requests=24, errors=0, p50_seconds=0.5, p95_seconds=1.0)
    assert bool(worse(one, one.model_copy(update={"p95_seconds": seconds}))) is bad


def test_the_address_of_a_canary_is_that_of_its_service() -> None:
    live = {"status": {"address": {"url": "http://w-predictor.models.svc.example.org:8080/v1"}}}
    assert url_of(live, "models", "w-canary-predictor") == "http://w-canary-predictor.models.svc.example.org:8080"
    assert url_of({}, "models", "w-predictor") == "http://w-predictor.models.svc"
