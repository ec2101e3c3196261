"""A cluster profile applied to one task of the pipeline: resources, secrets, volumes, placement."""

from __future__ import annotations

from crossover_pipelines.cluster_profile import ALL, Claim, ClusterProfile
from kfp import kubernetes
from kfp.dsl import PipelineTask

SCRATCH = "/scratch"
TRAINING = ("tuning", "pretraining")
"""Steps that train runs."""


def apply_profile(task: PipelineTask, step: str, profile: ClusterProfile) -> None:
    """Give the pods of a task what the profile says of its step."""
    launches = step == "pretraining" and profile.nodes > 1  # the pods of a TrainJob train, and this one follows them
    resources = profile.resources(ALL if launches else step)
    task.set_container_image(profile.step_image)
    task.set_cpu_request(resources.cpu)
    task.set_memory_request(resources.memory)
    task.set_memory_limit(resources.memory_limit)
    if resources.cpu_limit:
        task.set_cpu_limit(resources.cpu_limit)
    if resources.gpu:
        task.set_accelerator_type(resources.gpu.type)
        task.set_accelerator_limit(resources.gpu.count)
    if resources.timeout_seconds:
        kubernetes.set_timeout(task, resources.timeout_seconds)
    _environment(task, step, profile)
    _volumes(task, resources.scratch, resources.shared_memory)
    for key, value in (resources.node_selector or {}).items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in resources.tolerations or ():
        kubernetes.add_toleration(task, **toleration.model_dump())
    if profile.kueue_queue:
        kubernetes.add_pod_label(task, "kueue.x-k8s.io/queue-name", profile.kueue_queue)
    kubernetes.set_image_pull_policy(task, profile.image_pull_policy)
    if profile.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(profile.image_pull_secrets))
    kubernetes.set_security_context(
        task, run_as_user=profile.run_as_user, run_as_group=profile.run_as_group, run_as_non_root=True
    )


def _environment(task: PipelineTask, step: str, profile: ClusterProfile) -> None:
    own = {"CROSSOVER_SCRATCH": SCRATCH, "PYTHONUNBUFFERED": "1"}
    if profile.registry:
        own["CROSSOVER_REGISTRY_URL"] = profile.registry
    if profile.nodes > 1 and step in ("prerequisites", *TRAINING):
        own["CROSSOVER_TRAIN_JOB"] = profile.train_job
    elif step in TRAINING:
        gpu = profile.resources(step).gpu
        own |= {"CROSSOVER_RESTARTS": str(profile.restarts), "CROSSOVER_PROCESSES": str(gpu.count if gpu else 1)}
    for name, value in (own | profile.env).items():
        task.set_env_variable(name, value)
    for name, secret in profile.env_from_secrets.items():
        kubernetes.use_secret_as_env(task, secret.name, {secret.key: name})


def _volumes(task: PipelineTask, scratch: str | Claim | None, shared_memory: str | None) -> None:
    if isinstance(scratch, Claim):
        kubernetes.mount_pvc(task, pvc_name=scratch.claim, mount_path=SCRATCH)
    else:
        kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path=SCRATCH, size_limit=scratch)
    if shared_memory:
        path = "/dev/shm"  # noqa: S108 - where processes look for shared memory
        kubernetes.empty_dir_mount(task, "shared-memory", path, medium="Memory", size_limit=shared_memory)
