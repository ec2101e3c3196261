"""What is waited for, and when there is no use in waiting: each state that was seen on a real cluster."""

from __future__ import annotations

import pytest
from crossover_cluster.inference_service import Served, canary_of, kept_study, manifest, served_by
from crossover_cluster.kubernetes_api import Json
from crossover_cluster.promoting import default_endpoint
from crossover_cluster.rollout import SOURCE, Seen, failure, model_progress, progress, stuck

NEW, OLD = "s3://b/p/serving/new", "s3://b/p/serving/old"
DONE = {"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1, "replicas": 1}
INFO = {"reason": "ModelLoadFailed", "message": "no such object", "time": "2026-11-28T08:00:00Z"}
NO_RUNTIME = {"reason": "NoSupportingRuntime", "message": "no runtime"}


def deployment(uri: str = NEW, **status: object) -> Json:
    template = {"metadata": {"annotations": {SOURCE: uri}}}
    return {"metadata": {"generation": 2}, "spec": {"replicas": 1, "template": template}, "status": DONE | status}


NOT_READY = deployment(availableReplicas=0)


def pod(reason: str, message: str = "", ended: str = "") -> Json:
    state = {"waiting": {"reason": reason, "message": message}}
    status = {"name": "kserve-container", "state": state, "lastState": {"terminated": {"message": ended}}}
    return {
        "metadata": {"name": "p", "annotations": {SOURCE: NEW}},
        "status": {"containerStatuses": [status]},
    }


def seen(of: Json | None, *pods: Json, state: str = "UpToDate", info: Json | None = None) -> Seen:
    return Seen({"status": {"modelStatus": {"transitionStatus": state, "lastFailureInfo": info}}}, of, pods)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (None, "not made the Deployment"),
        (deployment(OLD), "the one before"),
        (deployment(observedGeneration=1), "not been looked at"),
        (deployment(updatedReplicas=0), "0 of 1 pods"),
        (deployment(availableReplicas=0), "0 of 1 pods"),
        (deployment(replicas=2), "1 of 1 pods"),
        (deployment(), ""),
    ],
)
def test_pods_are_waited_for_and_not_the_condition_ready(of: Json | None, said: str) -> None:
    text = progress(seen(of), NEW)
    assert (said in text) if said else not text


def test_the_status_of_the_model_must_return() -> None:
    assert model_progress(seen(deployment(), state="InProgress"), None)
    assert not model_progress(seen(deployment()), None)
    blocked = seen(deployment(), state="BlockedByFailedLoad", info=INFO)
    assert model_progress(blocked, None)
    assert not model_progress(blocked, INFO), "left over from the checkpoint before a rollback"


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        (seen(None, state="InProgress", info=NO_RUNTIME), "promotion.no-runtime", "runtime"),
        (seen(NOT_READY, info=INFO), "promotion.load-failed", "no such object"),
        (
            seen(deployment(availableReplicas=0, conditions=[
                {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}])),
            "promotion.pods-refused",
            "exceeded quota: q",
        ),
        (seen(NOT_READY, pod("ImagePullBackOff", "not found")), "promotion.image-pull", "not found"),
        (
            seen(NOT_READY, pod("CreateContainerConfigError", "secret x")),
            "promotion.pod-configuration",
            "secret x",
        ),
        (
            seen(NOT_READY, pod("CrashLoopBackOff", ended="log\ncheckpoint.altered")),
            "promotion.load-failed",
            "checkpoint.altered",
        ),
    ],
)  # fmt: skip
def test_what_cannot_become_right_ends_the_waiting(what: Seen, code: str, said: str) -> None:
    found = failure(what, NEW, before=None, waited=1.0)
    assert found is not None
    assert found.code == code
    assert said in found.problem
    assert found.remedy


def test_a_failure_of_before_is_not_that_of_now() -> None:
    stale = seen(NOT_READY, info=INFO)
    assert failure(stale, NEW, before=INFO, waited=1.0) is None
    assert failure(stale, NEW, before=INFO, waited=31.0) is not None
    assert failure(seen(deployment(OLD), info=INFO), NEW, before=None, waited=1.0) is None
    assert failure(seen(deployment(), info=INFO), NEW, before=None, waited=1.0) is None
    assert "ImagePullBackOff" in stuck(seen(NOT_READY, pod("ImagePullBackOff")), NEW)


def test_a_manifest_is_read_back_as_what_it_serves() -> None:
    stable, canary = (
        Served(OLD, "sha256:a", "c/ar/seed-0", "sha256:r", 1, "demo"),
        Served(NEW, "sha256:b", "r", "d", 2, "demo"),
    )
    written = manifest("w", "n", stable, replicas=2, canary=(canary, 10))
    assert served_by(written) == stable
    assert canary_of(written) == (canary, 10)
    assert kept_study(Served(OLD, "sha256:a", "c/ar/seed-0", "sha256:r", 1, "other"), written).study == "demo"
    assert served_by({"metadata": {}, "spec": {"predictor": {"model": {"storageUri": OLD}}}}) is None


def test_a_study_names_its_endpoint() -> None:
    assert default_endpoint("My study_2") == "my-study-2"
    assert default_endpoint("2026") == "study-2026"
