"""Which checkpoint `crossover serve` serves: a folder, a workspace's promoted one, or an arm's best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossover.errors import WorkspaceError
from crossover.stages.promote_stage import CURRENT
from crossover.stages.stage_manifests import Candidate
from crossover.stages.workspace import run_name
from crossover.storage import open_store
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import short
from crossover.training.checkpoint import step_name

DECISION, STUDY = "analysis/decision.json", "study.json"


def served_checkpoint(place: str, arm: str | None) -> Path:
    """The local folder of the checkpoint to serve, downloaded if need be.

    Args:
        place: a checkpoint folder, or a workspace: a path or s3://bucket/prefix.
        arm: serve this arm's best checkpoint in place of the promoted one.

    Raises:
        WorkspaceError: nothing to serve there.
        StorageError: the checkpoint is missing or altered.
    """
    if (Path(place) / "model.safetensors").is_file():
        return Path(place)
    store = open_store(place)
    current, decision = store.read_document(CURRENT), store.read_document(DECISION)
    if arm is None and current is not None:
        digest = str(current.value["digest"])
        return store.fetch(f"serving/{short(digest)}", digest)
    if arm is None or decision is None:
        raise WorkspaceError(
            "serve.nothing-to-serve",
            field=place,
            problem="is neither a checkpoint nor a workspace with a promoted one",
            remedy="run the study with --promote always, or name an arm with --arm",
        )
    best: dict[str, Any] = decision.value["best"]
    if arm not in best:
        raise WorkspaceError(
            "serve.unknown-arm", field="--arm", problem=f"no arm {arm!r}", remedy=f"choose from {', '.join(best)}"
        )
    chosen = Candidate.model_validate(best[arm])
    name = f"{run_name(chosen.run, chosen.run_digest)}/checkpoints/{step_name(chosen.checkpoint.step)}"
    return store.fetch(name, chosen.checkpoint.digest)


def diffusion_arm(place: str) -> str | None:
    """The first arm of a workspace's study whose models fill holes; None where there is none, or no study."""
    document = open_store(place).read_document(STUDY)
    if document is None:
        return None
    study = StudyConfig.model_validate(document.value["study"])
    return next((arm for arm in study.arms if study.arm(arm).objective == "masked"), None)
