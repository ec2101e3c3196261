"""Placeholder until the check of the cluster is merged."""

from __future__ import annotations

from crossover.study.study_config import StudyConfig


def check_prerequisites(study: StudyConfig, *, workspace: str, registry: str, endpoint: str) -> None:
    """Nothing yet."""
