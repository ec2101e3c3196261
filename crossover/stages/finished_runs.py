"""Runs that are trained to their end, looked up in the store by their digests: no torch is imported."""

from __future__ import annotations

from crossover.data.dataset import Dataset
from crossover.errors import StorageError, WorkspaceError
from crossover.registry import SavedCheckpoint
from crossover.stages.prepare_stage import open_dataset
from crossover.stages.stage_manifests import CheckpointRef, DatasetRef, Group, RunRef, RunsRef
from crossover.stages.study_context import StudyContext
from crossover.stages.workspace import run_name
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.training.checkpoint_info import step_name
from crossover.training.run_spec import RunSpec, cell_model


def trained_runs(context: StudyContext, reference: DatasetRef, group: Group) -> RunsRef:
    """The finished runs of a group.

    Raises:
        WorkspaceError: a run has not been trained to its end.
    """
    runs = []
    for spec, run in stored_runs(context, reference, group):
        if run is None:
            raise WorkspaceError(
                "workspace.untrained-run",
                field=spec.key,
                problem="has not been trained to its end",
                remedy="run `crossover pretrain` for it first",
            )
        runs.append(run)
    return RunsRef(study=context.study.digest, runs=tuple(runs))


def stored_runs(context: StudyContext, reference: DatasetRef, group: Group) -> list[tuple[RunSpec, RunRef | None]]:
    """Each run of a group with its checkpoints; None where it has not been trained to its end."""
    cell, dataset = context.study.cell(group.cell), open_dataset(context, reference)
    examples = dataset.manifest.budget(cell.unique_tokens, cell.quality).digest
    specs = (
        RunSpec(study=context.study, cell=cell, arm=group.arm, seed=seed, examples=examples) for seed in group.seeds
    )
    return [(spec, finished_run(context, spec)) for spec in specs]


def diverged(context: StudyContext, reference: DatasetRef, run: RunId) -> str:
    """Why a run diverged, when it was trained before; empty where it did not."""
    group = Group(cell=run.cell, arm=run.arm, seeds=(run.seed,))
    spec, _ = stored_runs(context, reference, group)[0]
    document = context.store.read_document(diverged_name(spec))
    return str(document.value["problem"]) if document else ""


def diverged_name(spec: RunSpec) -> str:
    """Name of the document that says why a run diverged: training it again would end as it did."""
    return f"{run_name(spec.id, spec.digest)}/diverged.json"


def register_finished(context: StudyContext, dataset: Dataset, run: RunRef) -> None:
    """Record a run that is trained to its end, and its checkpoints; a registry that has them is left as it is."""
    study, cell = context.study, context.study.cell(run.id.cell)
    tokens_per_step = study.tokens_per_step(run.id.arm)
    context.registry.register_run(
        study.digest,
        run.id,
        run.digest,
        config=run_config(study, run.id),
        epoch_tokens=dataset.manifest.budget(cell.unique_tokens, cell.quality).tokens,
        checkpoints=[SavedCheckpoint(c.step, c.step * tokens_per_step, c.uri, c.digest) for c in run.checkpoints],
    )


def finished_run(context: StudyContext, spec: RunSpec) -> RunRef | None:
    """The run with its checkpoints, if it has been trained to its end; None when a checkpoint is missing or torn."""
    parent = f"{run_name(spec.id, spec.digest)}/checkpoints"
    checkpoints = []
    for step in spec.milestones:
        name = f"{parent}/{step_name(step)}"
        digest = _complete(context, name)
        if digest is None:
            return None
        checkpoints.append(CheckpointRef(step=step, uri=context.store.uri_of(name), digest=digest))
    return RunRef(id=spec.id, digest=spec.digest, checkpoints=tuple(checkpoints))


def _complete(context: StudyContext, name: str) -> str | None:
    """Digest of an artifact that is complete in the store; a local copy is checked, none is downloaded for it."""
    digest = context.store.digest(name)
    if digest is None or not context.store.path(name).exists():
        return digest
    try:
        context.store.fetch(name, digest)
    except StorageError:
        return None
    return digest


def run_config(study: StudyConfig, run: RunId) -> dict[str, object]:
    """What the registry keeps of a run's configuration."""
    cell = study.cell(run.cell)
    model = cell_model(study, cell)
    return {
        "cell": run.cell,
        "arm": run.arm,
        "seed": run.seed,
        "unique_tokens": cell.unique_tokens,
        **({"quality": cell.quality} if cell.quality else {}),
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "recipe": study.arm(run.arm).model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
        "training": study.training_of(run.arm).model_dump(mode="json"),
    }
