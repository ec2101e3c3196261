"""Which run of which study, where its checkpoints stand, and how far it got."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from crossover.counter_rng import Stream, generator
from crossover.errors import CheckpointError, CrossoverError
from crossover.study.study_config import Cell, StudyConfig
from crossover.training.checkpoint import checkpoint_digest, latest_checkpoint, read_manifest, step_folder


class DivergedError(CrossoverError):
    """The loss is not finite or jumped; the run stops rather than train on."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Which run of which study."""

    study: StudyConfig
    cell: Cell
    arm: str
    seed: int

    @property
    def key(self) -> str:
        """`<cell>/<arm>/seed-<n>`: unique in the study, and the run's folder below `runs/`."""
        return f"{self.cell.name}/{self.arm}/seed-{self.seed}"


def pair_generator(seed: int) -> torch.Generator:
    """The generator of initial weights; both arms of a pair get the same."""
    return torch.Generator().manual_seed(int(generator(seed, Stream.INITIALISATION).integers(2**62)))


def resume_step(folder: Path) -> int:
    """The step from which a run in this folder would go on; 0 when it starts."""
    newest, _ = latest_checkpoint(folder / "resume")
    return 0 if newest is None else int(newest.name.removeprefix("step-"))


def is_finished(spec: RunSpec, folder: Path) -> bool:
    """Whether every evaluation step of the run has its checkpoint, whole."""
    steps = spec.study.evaluation_steps(spec.cell)
    return all(read_manifest(step_folder(folder / "checkpoints", step)) is not None for step in steps)


def milestones(spec: RunSpec, folder: Path) -> list[tuple[int, Path, str]]:
    """(step, folder, digest) of every evaluation step of a finished run.

    Raises:
        CheckpointError: one of them is missing or torn.
    """
    found = []
    for step in spec.study.evaluation_steps(spec.cell):
        place = step_folder(folder / "checkpoints", step)
        if read_manifest(place) is None:
            raise CheckpointError(
                "checkpoint.missing",
                field=str(place),
                problem="the checkpoint is missing or torn",
                remedy="run `crossover pretrain` for this run again",
            )
        found.append((step, place, checkpoint_digest(place)))
    return found
