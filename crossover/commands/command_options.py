"""Options that several verbs have: the study, its workspace, the registry."""

from __future__ import annotations

import argparse

from crossover.settings import get_settings
from crossover.study.load_study import load_study
from crossover.study.study_config import StudyConfig


def study_of(options: argparse.Namespace) -> StudyConfig:
    """Load the study named on the command line.

    Raises:
        StudyError: it is neither a preset nor a valid study file.
    """
    return load_study(options.study)


def workspace_of(options: argparse.Namespace, study: StudyConfig) -> str:
    """The workspace: --out, by default the folder with the study's name in the home folder."""
    return options.out or str(get_settings().home / study.name)


def workspace_at(place: str) -> str:
    """A workspace that is named by its place, or by the file of its study.

    Raises:
        StudyError: a study's file that cannot be read, or is no valid study.
    """
    if not place.endswith((".yaml", ".yml", ".json")):
        return place
    return str(get_settings().home / load_study(place).name)


def registry_of(options: argparse.Namespace) -> str:
    """SQLAlchemy URL of the registry: --registry, by default the one of the settings."""
    return options.registry or get_settings().registry
