"""Resume points of a run: one file of rank 0, or, of sharded training in a folder that all processes see, parts."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from crossover.tokenization.tokenizer import Tokenizer
from crossover.training.checkpoint import STATE, load_weights, save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo
from crossover.training.sharded_checkpoint import ShardedWriter, has_parts, in_one_folder, read_parts
from crossover.training.train_engine import Snapshot, TrainEngine


class ResumePoints:
    """Copies, writes and restores what a run goes on from.

    Args:
        engine: the model in training; every process makes its own of these.
        folder: of the run.
        tokenizer: whose ids the model knows.

    Raises:
        WorkspaceError: the folder cannot be written.
    """

    def __init__(self, engine: TrainEngine, folder: Path, tokenizer: Tokenizer) -> None:
        self._engine, self._world, self._tokenizer = engine, engine.world, tokenizer
        self._writer = ShardedWriter(self._world) if engine.sharded and in_one_folder(folder, self._world) else None

    @property
    def of_all(self) -> bool:
        """Whether this process has a part in writing one, as rank 0 always has."""
        return self._world.leads or self._writer is not None

    def whole(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot of now as `write` takes it: gathered, where rank 0 alone writes a sharded model; a collective."""
        return self._engine.gathered() if self._engine.sharded and self._writer is None else snapshot

    def write(self, point: Path, info: CheckpointInfo, copied: Snapshot) -> None:
        """Write a resume point, complete or absent, on each process's writer thread for which `of_all` is true.

        Raises:
            WorkspaceError: unwritable or full.
        """
        if self._writer is not None:
            self._writer.save(point, info, copied)
        else:
            save_checkpoint(point, info, *copied, tokenizer=self._tokenizer)

    def restore(self, newest: Path | None, info: CheckpointInfo) -> None:
        """Take over weights and optimizer state; a collective, whatever number of processes saved them.

        Args:
            newest: the resume point, on rank 0; None elsewhere.
            info: what it is of.
        """
        parts = self._world.share(newest is not None and has_parts(newest) and str(newest))
        if not parts:
            weights = {} if newest is None else load_weights(newest, info)
            self._engine.restore(weights, {} if newest is None else load_file(newest / STATE))
        elif self._world.most(0 if has_parts(Path(parts)) else 1) == 0:
            self._engine.restore(*read_parts(Path(parts), self._engine.parameters))
        else:  # this machine does not see the folder of rank 0
            whole = {name: torch.empty(p.shape, dtype=p.dtype) for name, p in self._engine.parameters.items()}
            self._engine.restore(*(({}, {}) if newest is None else read_parts(newest, whole)))
