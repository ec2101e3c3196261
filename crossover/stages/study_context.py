"""What every step needs: the study, its workspace, the registry. And how a step reports its own failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crossover.errors import CrossoverError
from crossover.progress import emit, events_wanted
from crossover.registry import Registry, RunKey
from crossover.settings import get_settings
from crossover.stages.workspace import Workspace
from crossover.study.study_config import StudyConfig, load_study, parse_study


@dataclass(frozen=True)
class StudyContext:
    """One study in one workspace, recorded in one registry."""

    study: StudyConfig
    workspace: Workspace
    registry: Registry

    @property
    def dataset_folder(self) -> Path:
        """Where the prepared corpus is."""
        return self.workspace.root / "dataset"

    def run_folder(self, key: str) -> Path:
        """Where a run's files are."""
        return self.workspace.root / "runs" / key

    def run_key(self, cell: str, arm: str, seed: int) -> RunKey:
        """The run's key in the registry."""
        return RunKey(study_digest=self.study.digest, cell=cell, arm=arm, seed=seed)


@contextmanager
def open_study(study: str | StudyConfig, workspace: str, registry: str = "") -> Iterator[StudyContext]:
    """Resolve what a step was given, claim the workspace and open the registry; report a failure before it leaves.

    Args:
        study: a StudyConfig, or its JSON or YAML text, or a preset's name.
        workspace: a path or s3://bucket/prefix.
        registry: SQLAlchemy URL; empty is the one of the settings.

    Raises:
        CrossoverError: whatever the step raised; under a parent that wants events it is emitted first.
    """
    try:
        config = study if isinstance(study, StudyConfig) else resolve_study(study)
        place = Workspace(workspace)
        place.claim(config)
        with Registry.open(registry or get_settings().registry) as opened:
            opened.register_study(name=config.name, digest=config.digest, config=config.model_dump(mode="json"))
            yield StudyContext(config, place, opened)
    except CrossoverError as error:
        if events_wanted():
            emit("error", message=str(error), exit_code=error.exit_code, name=type(error).__name__)
        raise


def resolve_study(text: str) -> StudyConfig:
    """A study from what a pipeline parameter may hold: JSON, YAML, a preset's name, or a path."""
    return parse_study(text) if "\n" in text or text.lstrip().startswith("{") else load_study(text)
