"""Pretraining on several nodes: a TrainJob of the Kubeflow Trainer, made and followed by the pipeline's step."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from crossover_cluster.kubernetes_api import Cluster, Json, open_cluster, refusal, said
from kubernetes.client import ApiException

from crossover.errors import ClusterError, StageFailedError
from crossover.registry import is_service
from crossover.stages.stage_manifests import DatasetRef
from crossover.stages.study_context import StudyContext
from crossover.stages.study_text import encoded_study
from crossover.study.identity import RunId
from crossover.url_masking import mask_password

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"
POLL_SECONDS = 3.0
_ENDED = ("Complete", "Failed")


@dataclass(frozen=True)
class TrainJobOptions:
    """Of the job's pods; what is left out is as in the TrainingRuntime."""

    nodes: int = 2
    processes: int | None = None
    """On a node, in place of the runtime's command; None leaves that as it is."""
    image: str = ""
    runtime: str = "crossover"
    """Name of the TrainingRuntime."""
    namespace: str = ""
    """Empty is the pod's own."""
    resources: Mapping[str, str] | None = None
    """Of a node, such as {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "8"}."""


class Trainer(Protocol):
    """What is used of the Kubeflow SDK's TrainerClient."""

    def train(self, *, runtime: str, trainer: Any, options: list[Any]) -> str:  # noqa: ANN401 - the SDK's types
        """Create a job."""

    def get_job(self, name: str) -> Any:  # noqa: ANN401  # the client's object
        """A job with its steps, which are its pods."""

    def get_job_logs(self, name: str, step: str, follow: bool) -> Iterable[str]:
        """Lines of a pod's log."""


def run_train_job(
    context: StudyContext,
    reference: DatasetRef,
    run: RunId,
    options: TrainJobOptions = TrainJobOptions(),
    *,
    cluster: Cluster | None = None,
    trainer: Trainer | None = None,
) -> None:
    """Train one run to its end in a TrainJob; bound to all but `run`, it is the `launch` of `pretrain_group`.

    A job of the run that still goes on, of an attempt before, is followed. The job belongs to this pod, is deleted when
    this process is asked to end, and resumes at the last resume point when it is made again.

    Args:
        context: the study, its workspace in an object store, and its registry.
        reference: the dataset, which `leave_dataset` has left in the workspace.
        run: which one.
        options: of the pods.
        cluster: None is that of this pod.
        trainer: None is the Kubeflow SDK's client.

    Raises:
        ClusterError: the workspace is a folder, the Trainer is missing, or the cluster refuses.
        StageFailedError: the training failed; with the last line of its log.
    """
    if not context.workspace.uri.startswith("s3://"):
        raise ClusterError(
            "trainer.no-bucket",
            field="workspace",
            problem=f"{context.workspace.uri} is a folder, which the nodes of a TrainJob do not share",
            remedy="give s3://bucket/prefix, or train on one node",
        )
    cluster = cluster or open_cluster(options.namespace)
    job = _Job(cluster, trainer or _client(cluster), job_name(context.study.digest, run), run)
    job.settle()
    try:
        if job.state() is None:
            job.create(context, reference, options)
        job.own()
        job.follow()
    except (KeyboardInterrupt, SystemExit):  # Terminated is a KeyboardInterrupt
        job.delete()
        raise


def job_name(study_digest: str, run: RunId) -> str:
    """The name of a run's job, the same in every attempt."""
    digest = hashlib.sha256(f"{study_digest} {run.key}".encode()).hexdigest()[:10]
    arm = re.sub(r"[^a-z0-9]+", "-", run.arm.lower()).strip("-")[:20]
    return f"crossover-{arm}-{run.seed}-{digest}"


def torchrun_command(processes: int) -> list[str]:
    """The Trainer sets torchrun's own variables (PET_*) for nodes, rank and address, and not RANK.

    torchrun restarts nothing: its second attempt would wait for a node that was started anew and is at its first. A
    lost node ends the others, and their Job starts all pods again (`backoffLimit` of the TrainingRuntime).
    """
    return ["torchrun", f"--nproc-per-node={processes}", "-m", "crossover.cli"]


@dataclass
class _Job:
    cluster: Cluster
    trainer: Trainer
    name: str
    run: RunId
    last_line: str = ""
    _streamed: str = ""

    @property
    def _path(self) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.cluster.namespace}/trainjobs/{self.name}"

    def read(self) -> Json | None:
        return self.cluster.get(self._path, doing=f"get trainjobs.{GROUP} {self.name}")

    def state(self) -> str | None:
        """Complete, Failed, or empty while it goes on; None where there is no job."""
        job = self.read()
        return _state(job) if job else None

    def settle(self) -> None:
        """Remove a job of an attempt before that has ended: its run is not finished, or it would not be asked for."""
        if self.state() not in _ENDED:
            return
        self.delete()
        while self.state() is not None:
            self.cluster.pause(POLL_SECONDS)

    def create(self, context: StudyContext, reference: DatasetRef, options: TrainJobOptions) -> None:
        from kubeflow.trainer.options import Annotations, Labels, Name, TrainerArgs, TrainerCommand
        from kubeflow.trainer.types.types import CustomTrainerContainer

        run, url = self.run, context.registry_url
        arguments = ["pretrain", encoded_study(context.study), "--out", context.workspace.uri, "--cell", run.cell]
        arguments += ["--arm", run.arm, "--seed", str(run.seed)]
        # a database's password stays in the Secret that the runtime names
        environment = {"CROSSOVER_REGISTRY_URL": url} if is_service(url) and mask_password(url) == url else None
        container = CustomTrainerContainer(
            image=options.image,
            num_nodes=options.nodes,
            resources_per_node=dict(options.resources) if options.resources else None,
            env=environment,
        )
        notes = {"crossover/run": run.key, "crossover/study": context.study.name, "crossover/dataset": reference.digest}
        settings: list[Any] = [
            Name(self.name),
            Labels({"app.kubernetes.io/part-of": "crossover"}),
            Annotations(notes),
            TrainerArgs(arguments),
        ]
        if options.processes:
            settings.append(TrainerCommand(torchrun_command(options.processes)))
        try:
            self.trainer.train(runtime=options.runtime, trainer=container, options=settings)
        except (RuntimeError, TimeoutError) as error:
            raise _refused(error, self, options.runtime) from error

    def own(self) -> None:
        """Make the job belong to this pod, so that it goes when the pod is deleted."""
        pod, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
        if not (pod and uid):
            return
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
        self._send("PATCH", {"metadata": {"ownerReferences": [owner]}}, "application/merge-patch+json")

    def delete(self) -> None:
        """Delete the job with its pods; none is right too."""
        try:
            self.cluster.request(
                "DELETE",
                self._path,
                doing=f"delete trainjobs.{GROUP} {self.name}",
                seconds=5.0,
                body={"propagationPolicy": "Background"},
            )
        except ApiException as error:
            if error.status != 404:
                raise refusal(f"delete trainjobs.{GROUP} {self.name}", error, self.cluster.namespace) from error

    def follow(self) -> None:
        """Until the job has ended; the log of its first node is this step's log."""
        while True:
            job = self.read()
            if job is None:
                raise StageFailedError(f"pretraining {self.run.key}", f"somebody has deleted the TrainJob {self.name}")
            state = _state(job)
            self._stream()
            if state == "Complete":
                return
            if state == "Failed":
                message = self.last_line or _failed(job).get("message") or "the TrainJob failed"
                raise StageFailedError(f"pretraining {self.run.key}", message)
            self.cluster.pause(POLL_SECONDS)

    def _stream(self) -> None:
        """Print the log of the first node's newest pod to its end, once."""
        try:
            steps = [step for step in self.trainer.get_job(self.name).steps if step.name == "node-0"]
            if not steps or steps[0].status == "Pending" or steps[0].pod_name == self._streamed:
                return
            for line in self.trainer.get_job_logs(self.name, step="node-0", follow=True):
                print(line, flush=True)
                self.last_line = line.strip() or self.last_line
            self._streamed = steps[0].pod_name
        except (RuntimeError, TimeoutError) as error:
            print(f"the log of {self.name} cannot be read yet ({error.__cause__ or error})", flush=True)

    def _send(self, method: str, body: Json, content: str) -> None:
        doing = f"{method.lower()} trainjobs.{GROUP} {self.name}"
        try:
            self.cluster.request(method, self._path, doing=doing, body=body, content=content)
        except ApiException as error:
            raise refusal(doing, error, self.cluster.namespace) from error


def _refused(error: Exception, job: _Job, runtime: str) -> ClusterError:
    """What the SDK raised, as what the API server said."""
    cause = error.__cause__
    # the runtime of the cluster is looked for where the namespace has none
    if isinstance(cause, ApiException) and "clustertrainingruntimes" not in said(cause):
        return refusal(f"create trainjobs.{GROUP} {job.name}", cause, job.cluster.namespace)
    why = said(cause) if isinstance(cause, ApiException) else str(cause or "no answer")
    return ClusterError(
        "trainer.no-runtime",
        field=f"TrainJob {job.name}",
        problem=f"the TrainingRuntime {runtime} cannot be used ({error}: {why})",
        remedy="install Kubeflow Trainer 2, the chart with trainer.enabled and this namespace in pipelineNamespaces",
    )


def _client(cluster: Cluster) -> Trainer:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Support for class-based `config`")  # of the SDK's own models
        from kubeflow.common.types import KubernetesBackendConfig
        from kubeflow.trainer import TrainerClient

    configuration = cluster.api.configuration
    client: Trainer = TrainerClient(
        KubernetesBackendConfig(namespace=cluster.namespace, client_configuration=configuration)
    )
    return client


def _conditions(job: Json) -> list[Json]:
    return (job.get("status") or {}).get("conditions") or []


def _state(job: Json) -> str:
    held = {c.get("type") for c in _conditions(job) if c.get("status") == "True"}
    return next((state for state in _ENDED if state in held), "")


def _failed(job: Json) -> Json:
    return next((c for c in _conditions(job) if c.get("type") == "Failed"), {})
