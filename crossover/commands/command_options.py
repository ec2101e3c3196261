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


def registry_of(options: argparse.Namespace) -> str:
    """SQLAlchemy URL of the registry: --registry, by default the one of the settings."""
    return options.registry or get_settings().registry
