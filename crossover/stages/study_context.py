"""What every stage needs: the study, its workspace, the registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from crossover.registry import AnyRegistry, open_registry
from crossover.settings import get_settings
from crossover.stages.study_text import resolve_study
from crossover.stages.sweep_results import tuned_study
from crossover.stages.tokenizer_record import recalled_tokenizer
from crossover.stages.workspace import Workspace
from crossover.storage import ArtifactStore
from crossover.study.study_config import StudyConfig


@dataclass(frozen=True)
class StudyContext:
    """One study in one workspace, recorded in one registry."""

    study: StudyConfig
    workspace: Workspace
    registry: AnyRegistry
    registry_url: str = field(default="", repr=False)
    """Of the registry, for processes that this one starts; it may hold a password."""
    came_tuned: bool = False
    """Whether the study came with results of its sweep; else those that it has are of the workspace."""

    @property
    def store(self) -> ArtifactStore:
        """Where the artifacts are."""
        return self.workspace.store


@contextmanager
def open_study(study: str | StudyConfig, workspace: str, registry: str = "") -> Iterator[StudyContext]:
    """Resolve what a stage was given, claim the workspace and open the registry.

    A study whose sweep is pending takes its results from the workspace, if they are there.

    Args:
        study: a StudyConfig, or its JSON or YAML text, or a preset's name.
        workspace: a path or s3://bucket/prefix.
        registry: URL of a database or a service; empty is the one of the settings.

    Raises:
        CrossoverError: the study, the workspace or the registry cannot be opened.
        StudyError: the study has results of a sweep that was made for other fields.
    """
    config = study if isinstance(study, StudyConfig) else resolve_study(study)
    place, came_tuned = Workspace(workspace), bool(config.tuning.results)
    with recalled_tokenizer(config.data.tokenizer, place.store):
        config = tuned_study(config, place.store)
        place.claim(config)
        url = registry or get_settings().registry
        with open_registry(url) as opened:
            opened.register_study(name=config.name, digest=config.digest, config=config.model_dump(mode="json"))
            yield StudyContext(config, place, opened, url, came_tuned)
