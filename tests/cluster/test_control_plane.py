"""The control plane is a real one: versions, admission, schemas and rights are judged by Kubernetes itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kubernetes.client import ApiException

from tests.cluster.kube import Kube, Object
from tests.cluster.stand_ins import INFERENCE_SERVICE, conditions, set_status

POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}


def inference_service(namespace: str, **predictor: object) -> Object:
    api_version, kind = INFERENCE_SERVICE
    model = {"modelFormat": {"name": "crossover"}, "storageUri": "s3://models/a"}
    spec = {"predictor": {"model": model, **predictor}}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "served", "namespace": namespace},
        "spec": spec,
    }


def test_server_names_a_release(kube: Kube) -> None:
    assert kube.raw("GET", "/version")["gitVersion"].startswith("v1.")


def test_restricted_namespace_refuses_a_plain_pod(kube: Kube, namespace: str) -> None:
    with pytest.raises(ApiException, match=r'violates PodSecurity \\"restricted'):
        kube.raw("POST", f"/api/v1/namespaces/{namespace}/pods", POD)


def test_predictors_hold_every_field_of_a_pod_and_no_other(kube: Kube, namespace: str) -> None:
    ok = inference_service(
        namespace, storageContainerName="s", terminationGracePeriodSeconds=60, tolerations=[{"key": "gpu"}]
    )
    kube.apply(ok)
    with pytest.raises(ApiException, match=r"field not declared in schema"):
        kube.apply(inference_service(namespace, terminationGraceSeconds=60))
    with pytest.raises(ApiException, match=r"minReplicas: expected numeric"):
        kube.apply(inference_service(namespace, minReplicas="two"))


def test_a_second_field_manager_conflicts(kube: Kube, namespace: str) -> None:
    kube.apply(inference_service(namespace, minReplicas=1))
    with pytest.raises(ApiException, match=r'conflict with \\"crossover-tests'):
        kube.apply(inference_service(namespace, minReplicas=2), manager="somebody-else")


def test_status_is_set_in_the_controllers_place(kube: Kube, namespace: str) -> None:
    kube.apply(inference_service(namespace))
    status = {"conditions": conditions(Ready="True"), "modelStatus": {"transitionStatus": "UpToDate"}}
    set_status(kube, *INFERENCE_SERVICE, "served", namespace, status)
    found = kube.get(*INFERENCE_SERVICE, "served", namespace)
    assert found is not None
    assert found["status"]["conditions"][0]["status"] == "True"
    assert found["metadata"]["generation"] == 1
    with pytest.raises(ApiException, match="transitionStatus"):
        set_status(kube, *INFERENCE_SERVICE, "served", namespace, {"modelStatus": {"transitionStatus": "Sometime"}})


def test_a_service_account_may_do_what_its_role_says(
    kube: Kube, namespace: str, service_account: Callable[..., Kube]
) -> None:
    rules = [{"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"], "verbs": ["get"]}]
    reader = service_account(namespace, "reader", rules)
    kube.apply(inference_service(namespace))
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/served"
    assert reader.raw("GET", path)["metadata"]["name"] == "served"
    assert reader.allowed("get", "serving.kserve.io", "inferenceservices", namespace)
    assert not reader.allowed("patch", "serving.kserve.io", "inferenceservices", namespace)
    with pytest.raises(ApiException) as refused:
        reader.raw("DELETE", path)
    assert refused.value.status == 403


def test_rules_of_the_originals_are_checked(kube: Kube, namespace: str) -> None:
    job: Object = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "train", "namespace": namespace},
        "spec": {"runtimeRef": {"name": "crossover", "kind": "TrainingRuntime"}, "trainer": {"numNodes": 2}},
    }
    assert kube.apply(job)["spec"]["managedBy"] == "trainer.kubeflow.org/trainjob-controller"
    with pytest.raises(ApiException, match="field is immutable"):
        kube.apply(job | {"spec": job["spec"] | {"runtimeRef": {"name": "another"}}})
    with pytest.raises(ApiException, match="RFC 1035"):
        kube.apply(job | {"metadata": {"name": "1train", "namespace": namespace}})
