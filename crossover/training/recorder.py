"""Where a run's numbers go while it trains. The loop knows this protocol, not the registry behind it."""

from __future__ import annotations

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

    def checkpoint(self, at: Progress, folder: Path, digest: str) -> None:
        """Take note of a saved checkpoint; everything before it is durable afterwards."""

    def note(self, text: str) -> None:
        """Take a line for people: a roll-back, a torn folder."""


class NoRecorder:
    """Forgets everything: for tests and throughput measurements."""

    def point(self, at: Progress, metric: str, value: float) -> None:
        """Forget."""

    def checkpoint(self, at: Progress, folder: Path, digest: str) -> None:
        """Forget."""

    def note(self, text: str) -> None:
        """Forget."""
