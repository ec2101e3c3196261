"""The parts of every evaluation of a study and their names in the store, from digests: no torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crossover.data.dataset import VALIDATION, Dataset
from crossover.data.task_items import TaskItems
from crossover.evaluation.measurement_plan import EvaluationInputs, Part, evaluation_parts, spread_steps
from crossover.stages.corpus_record import task_inputs
from crossover.stages.workspace import run_name
from crossover.study.identity import RunId
from crossover.study.study_config import Cell, StudyConfig
from crossover.study.study_digests import short
from crossover.training.checkpoint_info import checkpoint_digest, read_info, step_name


def evaluation_inputs(
    study: StudyConfig, dataset: Dataset, tasks: Mapping[str, TaskItems], cell: Cell
) -> EvaluationInputs:
    """Digests of the data that the evaluation of a cell's runs reads."""
    return EvaluationInputs(
        validation=dataset.manifest.files[VALIDATION],
        examples=dataset.manifest.budget(cell.unique_tokens, cell.quality).digest,
        tasks={name: task_inputs(items.manifest) for name, items in tasks.items()},
        scorer=scorer_digest(study),
    )


def scorer_digest(study: StudyConfig) -> str:
    """Of the checkpoint that judges samples; empty without one.

    Raises:
        CheckpointError: the folder is no checkpoint.
    """
    if not study.evaluation.scorer:
        return ""
    folder = Path(study.evaluation.scorer)
    read_info(folder)
    return checkpoint_digest(folder)


def planned_parts(study: StudyConfig, inputs: EvaluationInputs, run: RunId, digest: str) -> dict[int, tuple[Part, ...]]:
    """The parts of the evaluation of each of a run's checkpoints, by step."""
    config, steps = study.evaluation, list(study.evaluation_steps(study.cell(run.cell), run.arm))
    with_chain_rule = spread_steps(steps, config.chain_rule_points)
    with_writing = spread_steps(steps, config.writing_points)
    return {
        step: evaluation_parts(
            config,
            inputs,
            run=digest,
            family=study.arm(run.arm).family,
            step=step,
            chain_rule=step in with_chain_rule,
            writing=step in with_writing,
        )
        for step in steps
    }


def part_name(run: RunId, digest: str, step: int, part: Part) -> str:
    """Name of a part of an evaluation in the store."""
    file = f"{part.name.replace(':', '-')}-{short(part.digest)}.json"
    return f"{run_name(run, digest)}/evaluations/{step_name(step)}/{file}"
