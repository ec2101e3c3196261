"""What a checkpoint is of, read from its manifest without loading its weights: no torch is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from crossover.errors import CheckpointError
from crossover.files import digest_of, verify_files
from crossover.model.model_config import ModelConfig
from crossover.study.arms import Family

MANIFEST = "manifest.json"


class CheckpointInfo(BaseModel):
    """What a checkpoint is of; stands in its manifest beside the files' digests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    """Key of the run, `<cell>/<arm>/seed-<n>`."""
    run_digest: str
    """Of all that decides the run: `study_digests.run_digest`."""
    arm: str
    family: Family
    seed: int
    step: int
    tokens: int
    """Training tokens seen, repetitions counted."""
    flops: float
    seconds: float
    """Training time so far, evaluation and saving excluded, over all attempts."""
    model: ModelConfig
    block_length: int = 0
    """Tokens in a block of a block diffusion model; 0 otherwise."""
    expert_choice: bool = False
    """Whether experts choose tokens, in a sparse model."""
    document_end: int | None = None
    """Id of the token that ends a document, where attention stays within the documents of an example."""
    clipped: int = 0
    """Steps so far whose gradients were clipped."""
    skipped: tuple[int, ...] = ()
    """Steps whose batches were read but not learnt from, after a roll-back."""
    rollbacks: int = 0
    """Roll-backs of the run so far; in a resume point."""
    recent_losses: tuple[float, ...] = ()
    """What the loss guard measures the next loss against, nats per token; in a resume point."""


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete, untampered checkpoint; None when the folder is torn or altered."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if verify_files(folder, files) is None else None


def read_info(folder: Path) -> CheckpointInfo:
    """What a checkpoint is of, after checking every file's digest.

    Raises:
        CheckpointError: not a checkpoint, torn, or tampered with; says which file.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        broken = verify_files(folder, dict(manifest["files"]))
        fields = {k: v for k, v in manifest.items() if k not in ("kind", "files")}
        info = CheckpointInfo.model_validate(fields)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(
            "checkpoint.not-a-checkpoint",
            field=str(folder),
            problem="no readable manifest.json of a checkpoint",
            remedy="name a folder that pretraining wrote",
        ) from error
    if broken:
        raise CheckpointError(
            "checkpoint.altered",
            field=str(folder),
            problem=broken,
            remedy="restore the file or train the run again: the checkpoint is not used",
        )
    return info


def checkpoint_digest(folder: Path) -> str:
    """Digest of a checkpoint, as `save_checkpoint` returned it."""
    return digest_of(json.loads((folder / MANIFEST).read_text("utf-8")))


def latest_checkpoint(parent: Path) -> tuple[Path | None, list[Path]]:
    """The complete checkpoint with the highest step among `step-*`, and the torn ones that were passed over."""
    torn: list[Path] = []
    for folder in sorted(parent.glob("step-*"), reverse=True):
        if read_manifest(folder) is not None:
            return folder, torn
        torn.append(folder)
    return None, torn


def step_folder(parent: Path, step: int) -> Path:
    """Where the checkpoint of a step stands."""
    return parent / step_name(step)


def step_of(folder: Path) -> int:
    """The step of a checkpoint's folder."""
    return int(folder.name.removeprefix("step-"))


def step_name(step: int) -> str:
    """Name of a checkpoint's folder; names sort by step."""
    return f"step-{step:08d}"
