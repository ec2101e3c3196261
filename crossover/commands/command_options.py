"""Options that several verbs have: the study, its workspace, the registry."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from crossover.settings import get_settings
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import open_store
from crossover.study.load_study import load_study, parse_study, study_presets
from crossover.study.study_config import StudyConfig


def study_of(options: argparse.Namespace) -> StudyConfig:
    """Load the study named on the command line: a preset, a file, or the folder of a workspace.

    Raises:
        StudyError: it is none of these, or not a valid study.
    """
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
    """
    if not place.endswith((".yaml", ".yml", ".json")):
        return place
    return str(get_settings().home / load_study(place).name)


def registry_of(options: argparse.Namespace) -> str:
    """URL of the registry: --registry, by default the one of the settings."""
    return options.registry or get_settings().registry
