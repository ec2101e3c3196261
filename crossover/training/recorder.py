"""Where a run's numbers go while it trains. The loop knows this protocol, not the registry behind it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: the x of every point."""

    step: int
    tokens: int
    """Training tokens seen, repetitions counted."""
    flops: float
    """Floating point operations spent on training, forward and backward."""
    seconds: float
    """Training time, evaluation and saving excluded, over all attempts."""


class Recorder(Protocol):
    """Takes the points and checkpoints of one run."""

    def point(self, at: Progress, metric: str, value: float) -> None:
        """Take one value; may buffer."""

    def flush(self) -> None:
        """Make all values taken so far durable; called before a checkpoint is saved, from which no run goes back."""

    def checkpoint(self, at: Progress, folder: Path, digest: str) -> None:
        """Take note of a saved checkpoint."""

    def keep(self, folder: Path) -> None:
        """Send a saved folder to where it outlives this machine; called on the writer's thread."""

    def drop(self, folder: Path) -> None:
        """Remove a folder that nobody needs any more, here and where `keep` sent it."""

    def note(self, text: str) -> None:
        """Take a line for people: a roll-back, a torn folder."""


class NoRecorder:
    """Forgets everything: for tests and throughput measurements."""

    def point(self, at: Progress, metric: str, value: float) -> None:
        """Forget."""

    def flush(self) -> None:
        """Do nothing: nothing is kept."""

    def checkpoint(self, at: Progress, folder: Path, digest: str) -> None:
        """Forget."""

    def keep(self, folder: Path) -> None:
        """Leave it where it is."""

    def drop(self, folder: Path) -> None:
        """Remove it here."""
        shutil.rmtree(folder)

    def note(self, text: str) -> None:
        """Forget."""
