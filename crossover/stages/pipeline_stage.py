"""What a component of the pipeline opens: the study's context, with failures reported under the stage's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crossover.errors import RegistryError
from crossover.failures import reporting
from crossover.stages.study_context import StudyContext, open_study
from crossover.url_masking import mask_password


@contextmanager
def open_pipeline_stage(stage: str, study: str, workspace: str, registry: str) -> Iterator[StudyContext]:
    """Open a study for one stage; a failure is emitted as an event before it leaves.

    Args:
        stage: name of the component.
        study: a preset's name, or the study as JSON or YAML text.
        workspace: a path or s3://bucket/prefix.
        registry: SQLAlchemy URL without a password; empty is the one of the settings.

    Raises:
        RegistryError: the URL holds a password.
        CrossoverError: whatever the stage raised.
    """
    with reporting(stage):
        refuse_password(registry)
        with open_study(study, workspace, registry) as context:
            yield context


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
