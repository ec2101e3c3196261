"""What the pods of the pipeline's steps get of a cluster: one YAML file, compiled into the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from crossover_pipelines.command_options import Options
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from crossover.errors import StudyError
from crossover.field_faults import field_faults, validate_fields
from crossover.settings import get_settings
from crossover.yaml_text import parse_yaml

STEPS = (
    *("prerequisites", "corpus_shard", "data_preparation", "tuning", "tuning_summary", "pretraining"),
    *("training_summary", "evaluation", "crossover_analysis", "promotion"),
)
ALL = "all"
_SECRET_WORDS = ("SECRET_KEY", "ACCESS_KEY", "PASSWORD", "REGISTRY_TOKEN")

Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$"),
]
"""A Kubernetes quantity, such as 500m, 2Gi or 4."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of a Kubernetes object."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SecretKey(_Part):
    """A key of a Secret in the namespace of the pods."""

    name: Name
    key: str = Field(min_length=1)


class Gpu(_Part):
    """GPUs of one pod; a run is trained by as many processes."""

    type: str = Field(default="nvidia.com/gpu", description="Name of the device plugin's resource.")
    count: int = Field(default=1, ge=1)


class Toleration(_Part):
    """A toleration as in a pod's specification."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class Claim(_Part):
    """A PersistentVolumeClaim in the namespace of the pods."""

    claim: Name


class StepResources(_Part):
    """What the pods of a step get; what is left out is as in `all`."""

    cpu: Quantity | None = Field(default=None, description="Requested CPU; 500m.")
    cpu_limit: Quantity | None = Field(default=None, description="Limit; none.")
    memory: Quantity | None = Field(default=None, description="Requested memory; 1Gi.")
    memory_limit: Quantity | None = Field(default=None, description="Limit; 2Gi, or as much as is requested.")
    gpu: Gpu | None = None
    node_selector: dict[str, str] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    shared_memory: Quantity | None = Field(default=None, description="Size of /dev/shm.")
    scratch: Quantity | Claim | None = Field(
        default=None, description="CROSSOVER_SCRATCH: size of an emptyDir, or a claim; 10Gi."
    )
    timeout_seconds: int | None = Field(default=None, ge=1, description="Of a pod; none.")


_DEFAULTS = StepResources(cpu="500m", memory="1Gi", memory_limit="2Gi", scratch="10Gi")


class ClusterProfile(_Part):
    """Where the pipeline runs, and with what."""

    image: str = Field(default="", description="Of every step; CROSSOVER_IMAGE.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[Name, ...] = ()
    workspace: str = Field(default="s3://crossover/studies/demo", description="Default of the form.")
    registry: str = Field(default="", description="URL of the registry service, in every pod; no password.")
    endpoint: str = Field(default="", description="Default of the form.")
    env: dict[str, str] = Field(default={}, description="Variables of every pod.")
    env_from_secrets: dict[str, SecretKey] = Field(default={}, description="Variables from Secrets.")
    service_account: str = Field(default="", description="Of the runs that `crossover submit` starts.")
    kueue_queue: str = Field(default="", description="Name of the LocalQueue that admits the pods.")
    ttl_seconds: int | None = Field(default=None, ge=0, description="Until a finished run's pods are removed.")
    parallelism: int = Field(default=0, ge=0, description="Pods of a loop at once; 0 leaves it to the cluster.")
    restarts: int = Field(default=3, ge=0, description="Of training that is killed or meets a fault, inside its pod.")
    nodes: int = Field(default=1, ge=1, description="Of one run; more than one trains in a TrainJob.")
    training_runtime: str = Field(default="crossover", description="TrainingRuntime of the TrainJobs.")
    run_as_user: int | None = Field(default=None, ge=1, description="Numeric user; the image's where it is left out.")
    run_as_group: int | None = Field(default=None, ge=0)
    steps: dict[str, StepResources] = Field(default={}, description="By name of the step, or `all`.")

    @field_validator("env")
    @classmethod
    def _no_secret_in_clear(cls, value: dict[str, str]) -> dict[str, str]:
        secret = [n for n in value if any(word in n.upper() for word in _SECRET_WORDS) and not n.endswith("_FILE")]
        if secret:
            raise ValueError(f"{', '.join(secret)} would be compiled in clear; name a Secret under env_from_secrets")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ClusterProfile:
        if unknown := sorted(set(self.steps) - {ALL, *STEPS}):
            raise ValueError(f"no step is named {', '.join(unknown)}; the steps are {', '.join((ALL, *STEPS))}")
        if both := sorted(set(self.env) & set(self.env_from_secrets)):
            raise ValueError(f"{', '.join(both)} is in env and in env_from_secrets")
        return self

    @property
    def step_image(self) -> str:
        """The image of every step."""
        return self.image or get_settings().image

    @property
    def gpu_steps(self) -> tuple[str, ...]:
        """Steps whose pods have GPUs."""
        return tuple(step for step in STEPS if self.resources(step).gpu)

    @property
    def train_job(self) -> str:
        """CROSSOVER_TRAIN_JOB: options of the TrainJobs as JSON, with the resources of `pretraining` for each node.

        Empty where a run is trained in the step's own pod.
        """
        if self.nodes == 1:
            return ""
        resources = self.resources("pretraining")
        gpu = resources.gpu
        of_node = {"cpu": resources.cpu, "memory": resources.memory} | ({gpu.type: str(gpu.count)} if gpu else {})
        options = {"nodes": self.nodes, "image": self.step_image, "runtime": self.training_runtime}
        options |= {"processes": gpu.count if gpu else 1, "resources": of_node}
        return json.dumps(options, sort_keys=True)

    def resources(self, step: str) -> StepResources:
        """What the pods of a step get: its own fields over those of `all` over the defaults.

        `tuning` trains and measures: its fields stand over those of `pretraining`, or where TrainJobs train for it over
        those of `evaluation`.
        """
        merged = _DEFAULTS.model_dump(exclude_none=True)
        base = ("pretraining" if self.nodes == 1 else "evaluation") if step == "tuning" else ALL
        for layer in (self.steps.get(ALL), *[self.steps.get(base)] * (base != ALL), self.steps.get(step)):
            given = layer.model_dump(exclude_none=True) if layer else {}
            if "memory" in given and "memory_limit" not in given:
                given["memory_limit"] = given["memory"]
            merged |= given
        return StepResources.model_validate(merged)


def profile_of(options: Options) -> ClusterProfile:
    """The profile that --profile names; without it one of defaults."""
    path = options.path("profile")
    return read_profile(path) if path else ClusterProfile()


def read_profile(path: Path) -> ClusterProfile:
    """Read a profile from a YAML file.

    Raises:
        StudyError: not readable, not YAML, or a field is wrong; names the field.
    """
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict):
            raise ValueError("not a mapping of fields")
    except (OSError, ValueError) as error:
        raise StudyError(
            "profile.unreadable",
            field="--profile",
            problem=f"{path} cannot be read as a profile ({error})",
            remedy="give a YAML file with the fields of docs/pipelines.md",
        ) from error
    try:
        return validate_fields(ClusterProfile, raw)
    except ValidationError as error:
        faults = field_faults(error, ClusterProfile, "profile")
        raise StudyError(
            "profile.invalid", field=faults.field, problem=faults.problem, remedy=f"correct {faults.named}"
        ) from error
