"""A run: which run of which study it is, what it trains, and how far its folder got."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from crossover.counter_rng import Stream, generator
from crossover.errors import CrossoverError, UserError
from crossover.model.model_config import ModelConfig
from crossover.model.model_presets import preset
from crossover.study.identity import RunId
from crossover.study.study_config import Cell, StudyConfig
from crossover.study.study_digests import run_digest
from crossover.study.study_parts import TrainingConfig
from crossover.tokenization.tokenizer import BYTES, Tokenizer
from crossover.tokenization.tokenizer_file import vocabulary_rows
from crossover.training.checkpoint_info import latest_checkpoint, step_of

if TYPE_CHECKING:
    import torch


class DivergedError(CrossoverError):
    """The loss is not finite or jumped; the run stops rather than train on, and would again with the same settings."""

    exit_code = UserError.exit_code


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Which run of which study."""

    study: StudyConfig
    cell: Cell
    arm: str
    seed: int

    examples: str = ""
    """Digest of the training examples of the cell's budget."""
    tokenizer: Tokenizer = BYTES
    """Whose ids the training examples are."""
    document_end: int | None = None
    """Id of the token that ends a document, where attention stays within the documents of an example."""

    @property
    def id(self) -> RunId:
        """Cell, arm and seed."""
        return RunId(self.cell.name, self.arm, self.seed)

    @property
    def key(self) -> str:
        """`<cell>/<arm>/seed-<n>`: unique in a revision of the study."""
        return self.id.key

    @cached_property
    def digest(self) -> str:
        """Of all that decides the run: see `study_digests.run_digest`."""
        return run_digest(self.study, self.id, self.examples)

    @property
    def milestones(self) -> tuple[int, ...]:
        """Steps at which a checkpoint is saved and measured, ascending; the last is the run's end."""
        return self.study.evaluation_steps(self.cell, self.arm)

    @property
    def training(self) -> TrainingConfig:
        """The training settings of the arm."""
        return self.study.training_of(self.arm)


def cell_model(study: StudyConfig, cell: Cell) -> ModelConfig:
    """The transformer of a cell; the same for every arm."""
    return preset(cell.model, vocab_size=vocabulary_rows(study.data.tokenizer), max_length=study.data.sequence_length)


def pair_generator(seed: int) -> torch.Generator:
    """The generator of initial weights; both arms of a pair get the same."""
    import torch

    return torch.Generator().manual_seed(int(generator(seed, Stream.INITIALISATION).integers(2**62)))


def resume_step(folder: Path) -> int:
    """The step from which a run in this folder would go on; 0 when it starts."""
    newest, _ = latest_checkpoint(folder / "resume")
    return 0 if newest is None else step_of(newest)
