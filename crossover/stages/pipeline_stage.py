"""What a component of the pipeline opens: the study's context, with failures reported under the stage's name.

A failure that users can correct is the last line of the component's log, without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

from crossover.errors import RegistryError, StudyError, UserError
from crossover.failures import exiting_on_failure, reporting
from crossover.progress import events_wanted
from crossover.settings import get_settings, in_pod
from crossover.stages.promotion_decision import PROMOTIONS
from crossover.stages.run_selection import parse_selection
from crossover.stages.study_context import StudyContext, open_study
from crossover.stages.study_text import resolve_study
from crossover.study.study_config import StudyConfig
from crossover.study.sweep_study import check_results
from crossover.termination import terminable
from crossover.url_masking import mask_password

GPU_STEPS = ("pretraining", "evaluation")
"""Steps that compute on the study's device; with a sweep also `tuning`."""
PARAMETERS = {"--out": "workspace", "--registry": "registry", "--promote": "promotion"}
"""Flags of the commands, and the pipeline's parameters of the same meaning."""


@contextmanager
def open_pipeline_stage(stage: str, study: str, workspace: str, registry: str) -> Iterator[StudyContext]:
    """Open a study for one stage; a failure is emitted as an event before it leaves.

    Args:
        stage: name of the component.
        study: a preset's name, the study as JSON or YAML text, or the file that `prerequisites` wrote.
        workspace: a path or s3://bucket/prefix.
        registry: SQLAlchemy URL without a password; empty is the one of the settings.

    Raises:
        SystemExit: after a failure that users can correct, SIGTERM or SIGINT; its message is on standard error.
    """
    with pipeline_stage(stage, registry):
        refuse_pod_registry(registry.strip() or get_settings().registry)
        with open_study(study, workspace.strip(), registry.strip()) as context:
            yield context


@contextmanager
def pipeline_stage(stage: str, registry: str) -> Iterator[None]:
    """What every stage does around its work: failures are reported, signals end it, no parameter holds a password.

    Raises:
        SystemExit: after a failure that users can correct, SIGTERM or SIGINT; its message is on standard error.
    """
    with exiting_on_failure(), reporting(stage), _naming_parameters(), terminable(interrupts=True):
        refuse_password(registry)
        yield


@contextmanager
def _naming_parameters() -> Iterator[None]:
    """Let errors name the pipeline's parameters, unless `crossover run` shows them to somebody who typed flags."""
    try:
        yield
    except UserError as error:
        if not events_wanted():
            error.rename({flag: f"the pipeline parameter `{name}`" for flag, name in PARAMETERS.items()})
        raise


def check_parameters(study: str, promotion: str, seeds_per_task: int, runs: str) -> StudyConfig:
    """Check in the first stage the study, and what later stages take from the pipeline's parameters.

    Returns:
        The study.

    Raises:
        StudyError: the study is wrong, or a parameter has a value that no stage knows.
    """
    config = resolve_study(study)
    check_results(config)
    if promotion not in PROMOTIONS:
        close = difflib.get_close_matches(promotion, PROMOTIONS, n=1)
        raise StudyError(
            "run.bad-promotion",
            field="promotion",
            problem=f"{promotion!r} is not one of {', '.join(PROMOTIONS)}",
            remedy=f"write {close[0]}" if close else "write one of them",
        )
    if seeds_per_task < 1:
        problem = f"{seeds_per_task} seeds in a task train nothing"
        raise StudyError("run.bad-seeds-per-task", field="seeds_per_task", problem=problem, remedy="give 1 or more")
    parse_selection(config, runs)
    return config


def check_gpu_steps(study: StudyConfig, gpu_steps: str, *, in_pods: bool | None = None) -> None:
    """See whether the pods that train and evaluate have GPUs, where the study wants them.

    Args:
        study: the study.
        gpu_steps: steps whose pods have GPUs, comma-separated.
        in_pods: whether the steps run in pods; None looks whether this process does.

    Raises:
        StudyError: a study on cuda, and a step without.
    """
    in_pods = in_pod() if in_pods is None else in_pods
    needing = (*GPU_STEPS, *["tuning"] * study.tuning.is_pending)
    without = [step for step in needing if step not in gpu_steps.split(",")]
    if study.training.device == "cuda" and in_pods and without:
        raise StudyError(
            "run.no-gpu-in-step",
            field="training.device",
            problem=f"is cuda, and the pipeline was compiled without GPUs for the pods of {' and '.join(without)}",
            remedy=f"set {' and '.join(f'steps.{step}.gpu' for step in without)} in the cluster profile and upload the "
            "pipeline again, or set training.device to cpu",
        )


def refuse_pod_registry(url: str) -> None:
    """Refuse a registry in a file of a Kubernetes pod: every pod would write one of its own, and lose it.

    Raises:
        RegistryError: the URL is of SQLite, and this process runs in a pod.
    """
    if url.startswith("sqlite") and in_pod():
        raise RegistryError(
            "registry.file-in-pod",
            field="pipeline parameter `registry`",
            problem="is empty, and each step's pod would write to a file of its own, and lose it"
            if url == get_settings().registry
            else "is a file, which the pods of the other steps do not see",
            remedy="write the address of the installed registry service, such as http://crossover-registry:8090, "
            "or set CROSSOVER_REGISTRY_URL in the cluster profile",
        )


def refuse_password(registry: str) -> None:
    """Refuse a password in a pipeline parameter: Kubeflow stores parameters in clear and shows them to everybody.

    Raises:
        RegistryError: the URL holds a password.
    """
    if mask_password(registry) != registry:
        raise RegistryError(
            "registry.password-in-parameter",
            field="pipeline parameter `registry`",
            problem="holds a password, and everybody who sees the pipeline's runs can read its parameters",
            remedy="leave it empty, and set CROSSOVER_REGISTRY_URL in the pods from a Kubernetes Secret",
        )
