"""Checkpoints of a run's milestones on disk."""

from __future__ import annotations

from pathlib import Path

from crossover.training.checkpoint_info import read_manifest, step_folder
from crossover.training.run_spec import RunSpec


def saved_milestones(spec: RunSpec, folder: Path) -> list[Path]:
    """Folders of the complete checkpoints among a run's milestones, in order of steps."""
    folders = [step_folder(folder / "checkpoints", step) for step in spec.milestones]
    return [place for place in folders if read_manifest(place) is not None]
