"""Promotion on a real API server, as its own ServiceAccount; the tests act for KServe and the node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from crossover_cluster.canary_support import require_canary
from crossover_cluster.endpoint_rollout import EndpointRollout
from crossover_cluster.inference_service import Served, manifest
from crossover_cluster.kubernetes_api import Cluster
from crossover_cluster.promotion_records import PromotionOptions
from crossover_cluster.server_side_apply import apply_service, read_service

from crossover.errors import ClusterError
from tests.cluster.kserve_stand_in import KServe, kserve
from tests.cluster.kube import Kube, Object
from tests.cluster.stand_ins import INFERENCE_SERVICE, kubelet

RULES: list[Object] = [
    {"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"], "verbs": ["get", "create", "patch"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
]
CANARY_RULE: Object = {
    "apiGroups": ["autoscaling"],
    "resources": ["horizontalpodautoscalers"],
    "verbs": ["delete"],
}


def checkpoint(letter: str, step: int = 10) -> Served:
    digest = "sha256:" + letter * 64
    return Served(f"s3://models/study/serving/{letter * 12}", digest, "c/ar/seed-0", "sha256:r", step, "demo")


A, B, BAD = checkpoint("a"), checkpoint("b", 20), checkpoint("f", 30)
DIGESTS = {one.uri: one.digest for one in (A, B, BAD)}


@pytest.fixture
def controller(kube: Kube, namespace: str) -> Iterator[KServe]:
    with kubelet(kube, namespace), kserve(kube, namespace, bad=frozenset({BAD.uri}), digests=DIGESTS) as started:
        yield started


@pytest.fixture
def rollout(namespace: str, controller: KServe, service_account: Callable[..., Kube]) -> Callable[..., EndpointRollout]:
    def make(rules: list[Object] | None = None, **options: Any) -> EndpointRollout:  # noqa: ANN401  # options of the rollout
        user = service_account(namespace, "promoter", [*RULES, CANARY_RULE] if rules is None else rules)
        chosen = PromotionOptions(**{"deadline_seconds": 60.0} | options)
        return EndpointRollout(Cluster(user.api_client(), namespace), "winner", chosen, controller.reach)

    return make


def live(kube: Kube, namespace: str) -> Object:
    found = kube.get(*INFERENCE_SERVICE, "winner", namespace)
    assert found is not None
    return found


def test_a_checkpoint_is_served_and_a_retry_changes_nothing(
    kube: Kube, namespace: str, rollout: Callable[..., EndpointRollout]
) -> None:
    first = rollout(replicas=2).serve(A)
    version = live(kube, namespace)["metadata"]["resourceVersion"]
    again = rollout().serve(replace(A, study="renamed"))
    assert (first.changed, again.changed, first.digest, again.revision) == (True, False, A.digest, first.revision)
    there = live(kube, namespace)
    assert there["spec"]["predictor"]["minReplicas"] == 2
    assert there["spec"] == live(kube, namespace)["spec"]
    managers = {entry["manager"] for entry in there["metadata"]["managedFields"] if "subresource" not in entry}
    assert managers == {"crossover"}
    assert int(version) <= int(there["metadata"]["resourceVersion"])


def test_the_next_checkpoint_replaces_the_pods(rollout: Callable[..., EndpointRollout], controller: KServe) -> None:
    rollout().serve(A)
    done = rollout().serve(B)
    assert (done.digest, done.changed, done.traffic) == (B.digest, True, 100)
    assert [uri for _, uri in controller.served] == [A.uri, B.uri]


@pytest.mark.parametrize(
    ("resource", "verb"),
    [(r["resources"][0], verb) for r in (*RULES, CANARY_RULE) for verb in r["verbs"]],
)
def test_every_verb_is_needed(
    kube: Kube, namespace: str, rollout: Callable[..., EndpointRollout], resource: str, verb: str
) -> None:
    rollout().serve(A)
    if verb == "create":
        kube.delete(*INFERENCE_SERVICE, "winner", namespace)
    rules = [
        rule | {"verbs": [v for v in rule["verbs"] if (rule["resources"][0], v) != (resource, verb)] or ["watch"]}
        for rule in (*RULES, CANARY_RULE)
    ]
    with pytest.raises(ClusterError, match=rf"cannot {verb} resource .*{resource}") as refused:
        rollout(rules, canary=None if verb == "create" else 10).serve(B)
    assert refused.value.code == "cluster.forbidden"


def test_another_field_manager_keeps_its_field_unless_it_is_taken(
    kube: Kube, namespace: str, rollout: Callable[..., EndpointRollout]
) -> None:
    rollout().serve(A)
    theirs = manifest("winner", namespace, B, replicas=1)
    own = {"spec": {"predictor": {"model": {"modelFormat": {"name": "crossover"}, "storageUri": B.uri}}}}
    kube.apply(
        {k: theirs[k] for k in ("apiVersion", "kind")} | {"metadata": {"name": "winner", "namespace": namespace}} | own,
        manager="kubectl-edit",
        force=True,
    )
    with pytest.raises(ClusterError, match=r"(?s)storageUri.*kubectl-edit.*--force-conflicts"):
        rollout().serve(A)
    assert live(kube, namespace)["spec"]["predictor"]["model"]["storageUri"] == B.uri
    assert rollout(force_conflicts=True).serve(A).digest == A.digest


def test_a_checkpoint_that_cannot_be_loaded_is_taken_back(
    kube: Kube, namespace: str, rollout: Callable[..., EndpointRollout]
) -> None:
    rollout().serve(A)
    with pytest.raises(ClusterError) as failed:
        rollout().serve(BAD)
    assert failed.value.code in ("promotion.load-failed", "promotion.pods-refused")
    assert rollout().serve(A).digest == A.digest


def test_a_canary_is_tried_and_then_replaces_the_stable_checkpoint(
    kube: Kube, namespace: str, rollout: Callable[..., EndpointRollout], controller: KServe
) -> None:
    rollout().serve(A)
    done = rollout(canary=10).serve(B)
    assert (done.digest, done.traffic) == (B.digest, 100)
    assert done.stable is not None
    assert done.canary is not None
    assert done.canary.errors == 0
    assert controller.served == [
        ("winner-predictor", A.uri),
        ("winner-canary-predictor", B.uri),
        ("winner-predictor", B.uri),
    ]
    assert "canary" not in live(kube, namespace)["spec"]


def test_a_worse_canary_goes_and_the_stable_checkpoint_stays(
    kube: Kube, namespace: str, rollout: Callable[..., EndpointRollout], controller: KServe
) -> None:
    rollout().serve(A)
    controller.failing.add(B.uri)
    with pytest.raises(ClusterError, match=r"requests failed") as worse:
        rollout(canary=10).serve(B)
    assert worse.value.code == "promotion.canary-worse"
    there = live(kube, namespace)["spec"]
    assert "canary" not in there
    assert there["predictor"]["model"]["storageUri"] == A.uri


def test_a_canary_needs_something_to_be_compared_with(rollout: Callable[..., EndpointRollout]) -> None:
    with pytest.raises(ClusterError, match=r"promote without --canary first"):
        rollout(canary=10).serve(A)


def test_a_dead_token_is_named(namespace: str, service_account: Callable[..., Kube]) -> None:
    client = service_account(namespace, "nobody").api_client()
    client.configuration.api_key["authorization"] = "Bearer gone"
    client.configuration.refresh_api_key_hook = None
    with pytest.raises(ClusterError, match=r"has expired") as refused:
        apply_service(Cluster(client, namespace), manifest("winner", namespace, A, replicas=1))
    assert refused.value.code == "cluster.unauthorized"


def test_a_missing_namespace_is_named(kube: Kube) -> None:
    with pytest.raises(ClusterError, match=r"there is no namespace nowhere"):
        apply_service(Cluster(kube.api_client(), "nowhere"), manifest("winner", "nowhere", A, replicas=1))


def test_a_cluster_without_kserve_is_named(kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossover_cluster.server_side_apply.GROUP", "absent.kserve.io")
    cluster = Cluster(kube.api_client(), namespace)
    calls: list[Callable[[], object]] = [
        lambda: apply_service(cluster, manifest("winner", namespace, A, replicas=1)),
        lambda: read_service(cluster, "winner"),
    ]
    for call in calls:
        with pytest.raises(ClusterError, match=r"KServe is not installed") as absent:
            call()
        assert absent.value.code == "cluster.no-kserve"


def test_the_schema_of_canaries_is_read_from_the_server(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(kube.api_client(), namespace)
    require_canary(cluster)
    monkeypatch.setattr("crossover_cluster.canary_support.VERSION", "v1alpha1")  # knows no InferenceService
    with pytest.raises(ClusterError, match=r"KServe is not installed.*promote without --canary") as refused:
        require_canary(cluster)
    assert refused.value.code == "promotion.no-canary"


def test_a_field_that_no_schema_knows_is_refused_before_anything_changes(kube: Kube, namespace: str) -> None:
    wrong = manifest("winner", namespace, A, replicas=1)
    wrong["spec"]["predictor"]["storageContainer"] = "x"
    with pytest.raises(ClusterError, match=r"field not declared in schema") as refused:
        apply_service(Cluster(kube.api_client(), namespace), wrong)
    assert refused.value.code == "cluster.invalid"
    assert kube.get(*INFERENCE_SERVICE, "winner", namespace) is None
