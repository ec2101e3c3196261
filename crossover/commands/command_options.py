"""Options that several verbs have: the study, its workspace, the registry."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from crossover.errors import WorkspaceError
from crossover.settings import get_settings
from crossover.stages.study_text import ENCODED, resolve_study
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import open_store
from crossover.study.load_study import load_study, parse_study, study_presets
from crossover.study.study_config import StudyConfig


def study_of(options: argparse.Namespace) -> StudyConfig:
    """Load the study named on the command line: a preset, a file, the folder of a workspace, or `base64:` and its text.

    Raises:
        StudyError: it is none of these, or not a valid study.
        WorkspaceError: a file that a study wrote into its workspace, or a folder of several.
    """
    if options.study.startswith(ENCODED):
        return resolve_study(options.study)
    _refuse_result(Path(options.study))
    if (
        not _is_workspace(options.study)
        and (inside := studies_in(options.study))
        and options.study not in study_presets()
    ):
        problem, remedy = "is a folder of studies, not a study", f"name one: {', '.join(inside)}"
        raise _not_a_workspace(options.study, problem, remedy)
    document = open_store(options.study).read_document(STUDY_FILE) if _is_workspace(options.study) else None
    return parse_study(json.dumps(document.value["study"])) if document else load_study(options.study)


def workspace_of(options: argparse.Namespace, study: StudyConfig) -> str:
    """The workspace: --out or the one named as the study, by default the folder with its name in the home folder."""
    return options.out or (options.study if _is_workspace(options.study) else str(get_settings().home / study.name))


def _is_workspace(place: str) -> bool:
    return place not in study_presets() and (Path(place) / STUDY_FILE).is_file()


def workspace_at(place: str) -> str:
    """A workspace that is named by its place, or by the file of its study.

    Raises:
        StudyError: a study's file that cannot be read, or is no valid study.
        WorkspaceError: the name of a preset, or a file that is no study.
    """
    path, home = Path(place), get_settings().home
    if "://" in place or (place and path.is_dir()):
        return place
    if place in study_presets():
        problem, folder = "is a preset, not the folder of a study", home / place
        remedy = f"name its folder: {folder}" if folder.is_dir() else f"run `crossover run {place}` first"
        raise _not_a_workspace(place, problem, remedy)
    _refuse_result(path)
    if study_file(place):
        return str(home / load_study(place).name)
    if not place or path.is_file():
        problem = "is a file, not the folder of a study" if place else "is no name of a folder"
        found = studies_in(str(home))
        remedy = f"name the folder of a study{': ' if found else ''}{', '.join(found)}, or the study's YAML file"
        raise _not_a_workspace(place or "WORKSPACE", problem, remedy)
    return place


def study_file(place: str) -> bool:
    """Whether a place is the file of a study by its name."""
    return place.endswith((".yaml", ".yml", ".json")) and not Path(place).is_dir()


def studies_in(place: str) -> tuple[str, ...]:
    """The workspaces that are folders inside of a folder on this machine."""
    path = Path(place)
    if "://" in place or not path.is_dir():
        return ()
    return tuple(str(folder) for folder in sorted(path.iterdir()) if (folder / STUDY_FILE).is_file())


def _refuse_result(path: Path) -> None:
    """Refuse a file that a study wrote into its workspace."""
    if path.suffix not in (".json", ".html", ".md") or not path.is_file():
        return
    for parent in list(path.parents)[:2]:
        document = open_store(str(parent)).read_document(STUDY_FILE)
        if document is not None and "revisions" in document.value:
            problem = "is a result of a study, not its folder"
            raise _not_a_workspace(str(path), problem, f"name its folder: {parent}")


def _not_a_workspace(place: str, problem: str, remedy: str) -> WorkspaceError:
    return WorkspaceError("workspace.not-a-folder", field=place, problem=problem, remedy=remedy)


def registry_of(options: argparse.Namespace) -> str:
    """URL of the registry: --registry, by default the one of the settings."""
    return options.registry or get_settings().registry
