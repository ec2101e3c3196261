"""Where things are: folders, registry, object store, credentials. From the environment, prefix `CROSSOVER_`.

A study decides the numbers; settings decide where it runs and never change a number.
"""

from __future__ import annotations

import math
import os
import tempfile
from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from crossover.cpu_quota import cpu_quota
from crossover.errors import StorageError, WorkspaceError
from crossover.field_faults import field_faults

TEMPORARY_SCRATCH = f"crossover-{os.getuid()}"
"""Name of the scratch folder in the system's temporary folder; of each user their own."""


class Settings(BaseSettings):
    """Every setting; `crossover doctor` prints them with their values."""

    model_config = SettingsConfigDict(env_prefix="CROSSOVER_", frozen=True, extra="ignore")

    home: Path = Field(default=Path("studies"), description="Folder of all studies and of the embedded registry.")
    registry_url: str = Field(
        default="",
        repr=False,  # it may hold a password
        description="URL of the registry: of a database (SQLAlchemy) or of its service (http, https); empty means "
        "registry.sqlite in the home folder.",
    )
    registry_sql_url: SecretStr = Field(
        default=SecretStr(""),
        description="SQLAlchemy URL of the same PostgreSQL registry with a login that may read the views alone, for "
        "SELECTs of users; empty is the registry's own.",
    )
    registry_token: SecretStr = Field(default=SecretStr(""), description="Bearer token for a registry service.")
    registry_token_file: Path | None = Field(
        default=None, description="File with the token, read anew for every request; before CROSSOVER_REGISTRY_TOKEN."
    )
    registry_namespace: str = Field(
        default="", description="Namespace of the studies in a registry service; empty is that of the token."
    )
    scratch: Path | None = Field(
        default=None,
        description="Local copies of artifacts in an object store; empty means .scratch in the home folder, or "
        "crossover-<uid> in the system's temporary folder where the home cannot be written.",
    )
    tasks: Path = Field(default=Path("tasks"), description="Folder of task packs: evaluation sets as files.")
    threads: int = Field(default=0, ge=0, description="CPU threads of a step; 0 shares the cores among the steps.")
    parallelism: int = Field(
        default=0, ge=0, le=2, description="Steps that `crossover run` runs at once: 1, 2, or 0 for as many as cores."
    )
    peak_tflops: float = Field(
        default=0.0, ge=0, description="Peak TFLOP/s of one device, for MFU; 0 looks known GPUs up."
    )
    planned_mfu: float = Field(
        default=0.4, gt=0, le=1, description="MFU that `crossover plan` assumes where it does not measure."
    )
    price_per_gpu_hour: float = Field(default=0.0, ge=0, description="Price of one device for an hour, any currency.")
    resume_minutes: float | None = Field(
        default=None,
        ge=0,
        description="Minutes between two resume points of a run; 0 saves at milestones only; empty means 3, or more "
        "where saving would take over 2 % of the time.",
    )
    image: str = Field(
        default="ghcr.io/crossover/crossover-training:0.1.0", description="Image of the pipeline's components."
    )
    restarts: int = Field(
        default=0, ge=0, description="Times that a pipeline's step starts training anew that was killed or met a fault."
    )
    processes: int = Field(
        default=1, ge=1, description="Processes that a pipeline's step trains a run with (torchrun), one a GPU."
    )
    train_job: str = Field(
        default="",
        description="Options of the TrainJob that a pipeline's step trains a run in, as JSON; the cluster profile "
        "writes it. Empty trains in the step's own pod.",
    )
    kfp_host: str = Field(default="", description="URL of Kubeflow Pipelines for `crossover submit` and `upload`.")
    kfp_token: SecretStr = Field(default=SecretStr(""), description="Bearer token for Kubeflow Pipelines.")
    kfp_token_file: Path | None = Field(
        default=None, description="File with the token, read anew for every request; before CROSSOVER_KFP_TOKEN."
    )
    s3_endpoint: str = Field(
        default="", description="host:port or URL of the object store; empty means that of the AWS variables."
    )
    s3_access_key: SecretStr = Field(
        default=SecretStr(""), description="Access key; empty means AWS variables or the pod's identity."
    )
    s3_secret_key: SecretStr = Field(default=SecretStr(""), description="Secret key that belongs to the access key.")
    s3_region: str = Field(default="", description="Region; empty means AWS_REGION, or asking the object store.")
    s3_secure: bool = Field(default=True, description="Whether to use TLS with a CROSSOVER_S3_ENDPOINT of host:port.")

    @field_validator("scratch", "resume_minutes", "registry_token_file", "kfp_token_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def scratch_folder(self) -> Path:
        """The folder of everything local that is not a result: caches, locks, unpublished work.

        Raises:
            StorageError: neither it, nor the home, nor the system's temporary folder can be written.
        """
        if self.scratch is not None:
            return self.scratch
        if _writable(self.home):
            return self.home / ".scratch"
        try:
            return Path(tempfile.gettempdir()) / TEMPORARY_SCRATCH
        except FileNotFoundError as error:
            raise StorageError(
                "storage.unwritable",
                field=str(self.home),
                problem="cannot be written, and neither can the system's temporary folder",
                remedy="set CROSSOVER_SCRATCH to a folder that you may write to",
            ) from error

    @property
    def registry(self) -> str:
        """The registry's URL; where the home cannot be written, the embedded registry is in the scratch folder."""
        if self.registry_url:
            return self.registry_url
        folder = self.home if _writable(self.home) else self.scratch_folder
        return f"sqlite:///{folder / 'registry.sqlite'}"

    @property
    def local_parallelism(self) -> int:
        """Steps at once on this machine; kfp.local runs two at most."""
        return self.parallelism or min(2, available_cores())

    @property
    def step_threads(self) -> int:
        """CPU threads of one step."""
        return self.threads or max(1, available_cores() // self.local_parallelism)

    @property
    def lone_step_threads(self) -> int:
        """CPU threads of a step beside which no other runs: those of all."""
        return min(available_cores(), self.step_threads * self.local_parallelism)


def deciding_option(path: Path) -> str:
    """The variable or the flag that decides where a path is, for a remedy."""
    settings, place = get_settings(), path.absolute()
    chosen = settings.scratch is not None and place.is_relative_to(settings.scratch.absolute())
    if chosen or TEMPORARY_SCRATCH in place.parts:
        return "CROSSOVER_SCRATCH"
    if "home" in settings.model_fields_set and place.is_relative_to(settings.home.absolute()):
        return "CROSSOVER_HOME or --out"
    return "--out"


def _writable(folder: Path) -> bool:
    """Whether a folder can be written, or created."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def in_pod() -> bool:
    """Whether this process runs in a pod of Kubernetes."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def available_cores() -> int:
    """Cores that this process may use: those it may run on, or as many as its container's CPU limit, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota())))


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        WorkspaceError: a variable has a value that cannot be; names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = field_faults(error, Settings, "settings", lambda place: f"CROSSOVER_{place.upper()}")
        raise WorkspaceError(
            "settings.invalid", field=faults.field, problem=faults.problem, remedy=f"correct or unset {faults.named}"
        ) from error
