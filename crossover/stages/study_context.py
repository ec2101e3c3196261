"""What every stage needs: the study, its workspace, the registry."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from crossover.registry import AnyRegistry, open_registry
from crossover.settings import get_settings
from crossover.stages.workspace import Workspace
from crossover.storage import ArtifactStore
from crossover.study.load_study import load_study, parse_study
from crossover.study.study_config import StudyConfig


@dataclass(frozen=True)
class StudyContext:
    """One study in one workspace, recorded in one registry."""

    study: StudyConfig
    workspace: Workspace
    registry: AnyRegistry

    @property
    def store(self) -> ArtifactStore:
        """Where the artifacts are."""
        return self.workspace.store


@contextmanager
def open_study(study: str | StudyConfig, workspace: str, registry: str = "") -> Iterator[StudyContext]:
    """Resolve what a stage was given, claim the workspace and open the registry.

    Args:
        study: a StudyConfig, or its JSON or YAML text, or a preset's name.
        workspace: a path or s3://bucket/prefix.
        registry: URL of a database or a service; empty is the one of the settings.

    Raises:
        CrossoverError: the study, the workspace or the registry cannot be opened.
    """
    config = study if isinstance(study, StudyConfig) else resolve_study(study)
    place = Workspace(workspace)
    place.claim(config)
    with open_registry(registry or get_settings().registry) as opened:
        opened.register_study(name=config.name, digest=config.digest, config=config.model_dump(mode="json"))
        yield StudyContext(config, place, opened)


def resolve_study(text: str) -> StudyConfig:
    """A study from what a pipeline parameter may hold: JSON, YAML, a preset's name, or a path.

    Blanks and empty lines around it, as they come with pasted text, change nothing.
    """
    text = textwrap.dedent(text).strip()
    return parse_study(text) if "\n" in text or text.startswith("{") or ": " in text else load_study(text)
