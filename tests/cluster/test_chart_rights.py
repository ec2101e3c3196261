"""What the service accounts of the chart may do, with their own tokens: all that they need and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import ApiException

from tests.cluster.kube import Kube, Object
from tests.cluster.releases import Place, Release
from tests.cluster.stand_ins import kubelet

KSERVE, TRAINER = "serving.kserve.io", "trainer.kubeflow.org"
ALL: Object = {
    "s3": {"bucket": "studies"},
    "pipeline": {"mode": "api"},
    "pipelineRunner": {"create": True},
    "kserve": {"enabled": True},
    "trainer": {"enabled": True},
}
Right = tuple[str, str, str]

RUNNER_KSERVE: set[Right] = {
    (KSERVE, "inferenceservices", verb) for verb in ("get", "create", "patch", "list", "watch")
}
RUNNER_TRAINER: set[Right] = {
    *((TRAINER, "trainjobs", verb) for verb in ("get", "create", "patch", "delete", "list", "watch")),
    *((TRAINER, "trainingruntimes", verb) for verb in ("get", "list")),
    *(("", "pods", verb) for verb in ("get", "list", "watch")),
    ("", "pods/log", "get"),
    *(("", "events", verb) for verb in ("list", "watch")),
}


def rights(kube: Kube, namespace: str) -> set[Right]:
    """Group, resource and verb of everything that a user may do in a namespace, as the server says."""
    review = {"spec": {"namespace": namespace}}
    status = kube.raw("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)["status"]
    assert not status["incomplete"]
    return {
        (group, resource, verb)
        for rule in status["resourceRules"]
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        for verb in rule["verbs"]
    }


@pytest.fixture
def installed(place: Place) -> Iterator[Place]:
    with kubelet(place.kube, place.namespace):
        Release(place.kube, place.namespace).install(ALL)
        yield place


def test_rights_of_every_account_are_these(installed: Place, tmp_path: Path) -> None:
    kube, namespace = installed.kube, installed.namespace
    everybodys = rights(kube.as_service_account(namespace, "default", tmp_path), namespace)

    def own(account: str, place: str = namespace) -> set[Right]:
        return rights(kube.as_service_account(namespace, account, tmp_path), place) - everybodys

    assert own("pipeline-runner") == RUNNER_KSERVE | RUNNER_TRAINER
    assert own("pipeline-runner", "default") == set()
    assert own("trial-crossover-upload") == set()
    assert own("crossover-predictor") == set()
    reviews = {
        ("authentication.k8s.io", "tokenreviews", "create"),
        ("authorization.k8s.io", "subjectaccessreviews", "create"),
    }
    assert own("trial-crossover-registry") == reviews
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    for account in ("pipeline-runner", "trial-crossover-registry", "trial-crossover-upload", "crossover-predictor"):
        with pytest.raises(ApiException, match="secrets is forbidden"):
            kube.as_service_account(namespace, account, tmp_path).raw("GET", secrets)


def test_without_kserve_and_trainer_the_runner_may_nothing(place: Place, tmp_path: Path) -> None:
    with kubelet(place.kube, place.namespace):
        Release(place.kube, place.namespace).install({"pipelineRunner": {"create": True}})
    everybodys = rights(place.kube.as_service_account(place.namespace, "default", tmp_path), place.namespace)
    runner = place.kube.as_service_account(place.namespace, "pipeline-runner", tmp_path)
    assert rights(runner, place.namespace) == everybodys


def test_the_runner_serves_and_trains_but_does_not_delete_what_serves(installed: Place, tmp_path: Path) -> None:
    namespace = installed.namespace
    runner = installed.kube.as_service_account(namespace, "pipeline-runner", tmp_path)
    model = {"modelFormat": {"name": "crossover"}, "storageUri": "s3://studies/model"}
    at = {"name": "served", "namespace": namespace}
    served = {"apiVersion": f"{KSERVE}/v1beta1", "kind": "InferenceService", "metadata": at}
    runner.apply({**served, "spec": {"predictor": {"model": model}}})
    runner.apply({**served, "spec": {"predictor": {"model": model, "minReplicas": 2}}})
    with pytest.raises(ApiException, match="forbidden"):
        runner.delete(f"{KSERVE}/v1beta1", "InferenceService", "served", namespace)
    job = {
        "apiVersion": f"{TRAINER}/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "train", "namespace": namespace},
    }
    runner.apply({**job, "spec": {"runtimeRef": {"name": "crossover", "kind": "TrainingRuntime"}}})
    runner.delete(f"{TRAINER}/v1alpha1", "TrainJob", "train", namespace)
    with pytest.raises(ApiException, match="forbidden"):
        runner.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": at, "data": {"a": "b"}})
