"""What verbs share: where a study goes by default."""

from __future__ import annotations

import argparse

from crossover.settings import get_settings
from crossover.study.load_study import load_study
from crossover.study.study_config import StudyConfig


def study_of(options: argparse.Namespace) -> StudyConfig:
    """The study that was named on the command line."""
    return load_study(options.study)


def workspace_of(options: argparse.Namespace, study: StudyConfig) -> str:
    """The workspace: what --out says, or a folder with the study's name below the home folder."""
    return options.out or str(get_settings().home / study.name)


def registry_of(options: argparse.Namespace) -> str:
    """The registry: what --registry says, or the one of the settings."""
    return options.registry or get_settings().registry
