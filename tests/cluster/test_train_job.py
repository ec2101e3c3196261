"""A TrainJob on a real API server, made through the Kubeflow SDK; the test acts for the Trainer's controller."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from crossover_cluster.cluster_checks import TRAIN_JOB_RIGHTS
from crossover_cluster.kubernetes_api import Cluster
from crossover_cluster.train_job import TrainJobOptions, job_name, run_train_job

from crossover.errors import ClusterError, StageFailedError
from crossover.stages.stage_manifests import DatasetRef
from crossover.stages.study_context import StudyContext
from crossover.stages.study_text import resolve_study
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.termination import Terminated
from tests.cluster.kserve_stand_in import RESTRICTED
from tests.cluster.kube import Kube, Object
from tests.cluster.stand_ins import conditions, set_status
from tests.cluster.test_prerequisites import rules

TRAIN_JOB = ("trainer.kubeflow.org/v1alpha1", "TrainJob")
RUN = RunId("u100-nano", "dlm", 3)
DATASET = DatasetRef(study="sha256:s", uri="s3://b/p/datasets/d", digest="sha256:d", tasks=())


def context(study: StudyConfig) -> StudyContext:
    """A study in a bucket; neither the bucket nor the registry is asked for anything here."""
    workspace = SimpleNamespace(uri="s3://b/p", store=None)
    return StudyContext(study, workspace, None, "http://crossover-registry:8090")  # type: ignore[arg-type]  # never asked


@dataclass
class Attempt:
    """A call of `run_train_job` that pauses where the test wants to act."""

    kube: Kube
    user: Kube
    namespace: str
    study: StudyConfig
    acts: list[Callable[[Object], None]] = field(default_factory=list)
    """Called one a pause, with the job."""

    def run(self, **options: object) -> None:
        acts = iter(self.acts)

        def pause(_: float) -> None:
            next(acts)(self.job() or {})

        chosen = TrainJobOptions(**options)  # type: ignore[arg-type]  # its fields by name
        run_train_job(
            context(self.study), DATASET, RUN, chosen, cluster=Cluster(self.user.api_client(), self.namespace, pause)
        )

    def job(self) -> Object | None:
        return self.kube.get(*TRAIN_JOB, job_name(self.study.digest, RUN), self.namespace)

    def set(self, **states: str | tuple[str, str, str]) -> Callable[[Object], None]:
        def act(job: Object) -> None:
            status = {"conditions": conditions(**states)}
            set_status(self.kube, *TRAIN_JOB, job["metadata"]["name"], self.namespace, status)

        return act


@pytest.fixture
def attempt(
    kube: Kube,
    namespace: str,
    tiny_study: StudyConfig,
    service_account: Callable[..., Kube],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Attempt]:
    pod = {"containers": [{"name": "node", "image": "i", "command": ["torchrun"]}]}
    step = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    job = {"name": "node", "template": {"metadata": step, "spec": {"template": {"spec": pod}}}}
    runtime = {
        "apiVersion": TRAIN_JOB[0],
        "kind": "TrainingRuntime",
        "metadata": {
            "name": "crossover",
            "namespace": namespace,
            "labels": {"trainer.kubeflow.org/framework": "torch"},
        },
        "spec": {
            "mlPolicy": {"numNodes": 2, "torch": {}},
            "template": {"spec": {"replicatedJobs": [job]}},
        },
    }
    kube.apply(runtime)
    step_pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "step", "namespace": namespace},
        "spec": {"containers": [{"name": "main", "image": "i", "securityContext": RESTRICTED}]},
    }
    monkeypatch.setenv("KFP_POD_NAME", "step")
    # of a pod that is there: the garbage collector removes what belongs to one that is not
    monkeypatch.setenv("KFP_POD_UID", kube.apply(step_pod)["metadata"]["uid"])
    user = service_account(namespace, "runner", rules(TRAIN_JOB_RIGHTS))
    yield Attempt(kube, user, namespace, tiny_study)


def test_a_job_is_made_owned_and_followed_to_its_end(attempt: Attempt) -> None:
    seen: list[Object] = []
    attempt.acts = [seen.append, attempt.set(Complete="True")]
    attempt.run(nodes=3, processes=2, resources={"cpu": "2"}, image="registry.example/training:1")
    (job,) = seen
    trainer = job["spec"]["trainer"]
    assert job["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "step", "uid": os.environ["KFP_POD_UID"]},
    ]
    assert (trainer["numNodes"], trainer["image"]) == (3, "registry.example/training:1")
    assert trainer["command"] == ["torchrun", "--nproc-per-node=2", "-m", "crossover.cli"]
    verb, study, *flags = trainer["args"]
    assert (verb, resolve_study(study)) == ("pretrain", attempt.study)
    assert flags == ["--out", "s3://b/p", "--cell", "u100-nano", "--arm", "dlm", "--seed", "3"]
    assert {"name": "CROSSOVER_REGISTRY_URL", "value": "http://crossover-registry:8090"} in trainer["env"]


def test_a_failure_is_raised_and_a_retry_makes_the_job_anew(attempt: Attempt) -> None:
    attempt.acts = [attempt.set(Failed=("True", "Failed", "job node-0 failed"))]
    with pytest.raises(StageFailedError, match=r"pretraining u100-nano/dlm/seed-3: job node-0 failed"):
        attempt.run()
    failed = attempt.job()
    assert failed is not None
    attempt.acts = [attempt.set(Complete="True")]
    attempt.run()
    again = attempt.job()
    assert again is not None
    assert again["metadata"]["uid"] != failed["metadata"]["uid"]


def test_a_job_that_goes_on_is_followed(attempt: Attempt) -> None:
    def die(_: Object) -> None:
        raise RuntimeError("the step's pod is gone")

    attempt.acts = [die]
    with pytest.raises(RuntimeError, match="gone"):
        attempt.run()
    first = attempt.job()
    assert first is not None
    attempt.acts = [attempt.set(Complete="True")]
    attempt.run()
    after = attempt.job()
    assert after is not None
    assert after["metadata"]["uid"] == first["metadata"]["uid"]


def test_a_cancelled_step_takes_its_job_with_it(attempt: Attempt) -> None:
    def cancel(_: Object) -> None:
        raise Terminated

    attempt.acts = [cancel]
    with pytest.raises(Terminated):
        attempt.run()
    assert attempt.job() is None


@pytest.mark.parametrize("right", TRAIN_JOB_RIGHTS[:4], ids=str)
def test_a_missing_right_is_named(attempt: Attempt, service_account: Callable[..., Kube], right: object) -> None:
    attempt.user = service_account(attempt.namespace, "runner", rules(tuple(r for r in TRAIN_JOB_RIGHTS if r != right)))

    def cancel(_: Object) -> None:
        raise Terminated

    attempt.acts = [cancel]
    with pytest.raises(ClusterError, match=rf"cannot {str(right).split(' ')[0]} resource"):
        attempt.run()


def test_a_missing_runtime_is_named(attempt: Attempt) -> None:
    with pytest.raises(ClusterError, match=r"TrainingRuntime absent cannot be used.*trainer.enabled"):
        attempt.run(runtime="absent")
