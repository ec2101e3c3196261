"""What is kept of an evaluation: values with their estimators, and per-item scores."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossover.errors import WorkspaceError
from crossover.files import read_json, write_json


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Record):
    """One value of one metric at one checkpoint."""

    metric: str
    value: float
    stderr: float | None
    unit: str
    direction: Literal["lower", "higher"]
    estimator: str
    draws: int


class ItemScores(_Record):
    """Per-item scores of a task: what paired tests are made of."""

    task: str
    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    correct: tuple[float, ...]
    margins: tuple[float, ...] = Field(description="NLL of distractors minus that of the truth; empty if not a choice.")
    option_nll: tuple[tuple[float, ...], ...] = Field(description="Nats per option token, one row an item.")
    truncated: int = Field(default=0, description="Tokens of context that did not fit into the model.")


class Evaluation(_Record):
    """All that was measured at one checkpoint."""

    kind: Literal["evaluation"] = "evaluation"
    checkpoint: str = Field(description="Digest of the checkpoint.")
    dataset: str = Field(description="Digest of the dataset.")
    step: int
    tokens: int
    flops: float
    seconds: float
    measurements: tuple[Measurement, ...]
    items: tuple[ItemScores, ...]


def evaluation_path(run_folder: Path, step: int) -> Path:
    """Where the evaluation of a step is kept."""
    return run_folder / "evaluation" / f"step-{step:08d}.json"


def save_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write atomically."""
    write_json(path, evaluation.model_dump(mode="json"))


def load_evaluation(path: Path) -> Evaluation | None:
    """A kept evaluation; None when there is none or it cannot be read, so that it is made again."""
    try:
        return Evaluation.model_validate(read_json(path))
    except (WorkspaceError, ValidationError):
        return None
