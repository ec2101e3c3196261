"""What is kept of an evaluation: values with their estimators, and per-item scores."""

from __future__ import annotations

from collections.abc import Sequence
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


class EvaluationPart(_Record):
    """One part of the evaluation of a checkpoint, as it is stored: all that one estimator or task measures."""

    kind: Literal["evaluation"] = "evaluation"
    digest: str = Field(description="Of the request: `study_digests.evaluation_digest`.")
    part: str = Field(description="`likelihood`, `chain-rule`, `task:<name>` or `writing`.")
    checkpoint: str = Field(description="Digest of the checkpoint.")
    step: int
    tokens: int
    flops: float
    seconds: float
    measurements: tuple[Measurement, ...]
    items: tuple[ItemScores, ...] = ()


class Evaluation(_Record):
    """All that was measured at one checkpoint."""

    checkpoint: str = Field(description="Digest of the checkpoint.")
    step: int
    tokens: int
    flops: float
    seconds: float
    measurements: tuple[Measurement, ...]
    items: tuple[ItemScores, ...]


def merge_parts(parts: Sequence[EvaluationPart]) -> Evaluation:
    """The parts of one checkpoint's evaluation as one, in their order; at least one part."""
    first = parts[0]
    return Evaluation(
        checkpoint=first.checkpoint,
        step=first.step,
        tokens=first.tokens,
        flops=first.flops,
        seconds=first.seconds,
        measurements=tuple(measurement for part in parts for measurement in part.measurements),
        items=tuple(scores for part in parts for scores in part.items),
    )


def save_part(path: Path, part: EvaluationPart) -> None:
    """Write atomically."""
    write_json(path, part.model_dump(mode="json"))


def load_part(path: Path) -> EvaluationPart | None:
    """A stored part; None when there is none or it cannot be read, so that it is measured again."""
    try:
        return EvaluationPart.model_validate(read_json(path))
    except (WorkspaceError, ValidationError):
        return None
