"""What every stage needs: the study, its workspace, the registry."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from crossover.errors import StudyError
from crossover.registry import AnyRegistry, open_registry
from crossover.settings import get_settings
from crossover.stages.workspace import STUDY_FILE, Workspace
from crossover.storage import ArtifactStore, open_store
from crossover.study.load_study import load_study, parse_study
from crossover.study.study_config import StudyConfig

ENCODED = "base64:"


@dataclass(frozen=True)
class StudyContext:
    """One study in one workspace, recorded in one registry."""

    study: StudyConfig
    workspace: Workspace
    registry: AnyRegistry
    registry_url: str = field(default="", repr=False)
    """Of the registry, for processes that this one starts; it may hold a password."""

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
    url = registry or get_settings().registry
    with open_registry(url) as opened:
        opened.register_study(name=config.name, digest=config.digest, config=config.model_dump(mode="json"))
        yield StudyContext(config, place, opened, url)


def resolve_study(text: str) -> StudyConfig:
    """A study from what a pipeline parameter may hold.

    That is JSON, YAML, a preset's name, a path, `base64:` and any of these texts encoded, or s3://bucket/prefix of a
    workspace, whose study it is. Blanks and empty lines around it, as they come with pasted text, change nothing.

    Raises:
        StudyError: none of these, or not a valid study.
        StorageError: the workspace cannot be read.
    """
    text = textwrap.dedent(text).strip()
    if text.startswith(ENCODED):
        try:
            text = base64.b64decode(text.removeprefix(ENCODED), validate=True).decode("utf-8")
        except ValueError as error:
            raise StudyError(
                "study.not-base64",
                field="STUDY",
                problem=f"what follows {ENCODED} is no base64 of UTF-8 text",
                remedy="encode the study's file with `base64 --wrap=0`, or let `crossover submit` do it",
            ) from error
    if text.startswith("s3://"):
        document = open_store(text).read_document(STUDY_FILE)
        if document is None:
            raise StudyError(
                "study.not-found",
                field="STUDY",
                problem=f"{text} holds no study",
                remedy="name the workspace of a study that has run, or give the study's text",
            )
        text = json.dumps(document.value["study"], ensure_ascii=False)
    return parse_study(text) if "\n" in text or text.startswith("{") or ": " in text else load_study(text)


def encoded_study(study: StudyConfig) -> str:
    """The study as a text that nothing on the way to a pod rewrites: Argo and Kubernetes expand `{{…}}` and `$(…)`."""
    return ENCODED + base64.b64encode(study.model_dump_json().encode()).decode()
