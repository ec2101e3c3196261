"""The evaluated runs of a study, gathered from manifests, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from crossover.errors import WorkspaceError
from crossover.evaluation.evaluation_records import Evaluation, EvaluationPart, load_part, merge_parts
from crossover.stages.round_state import read_rounds
from crossover.stages.run_selection import parse_selection
from crossover.stages.stage_manifests import EvaluationRef, EvaluationsRef, RunRef, require_study
from crossover.stages.study_context import StudyContext
from crossover.study.identity import RunId

EvaluatedRun = tuple[RunRef, list[Evaluation]]
"""A run, and the evaluations of its checkpoints in order of steps."""
COLUMNS = ("arm", "seed", "tokens", "flops", "seconds", "metric", "value", "stderr")


def collect_runs(context: StudyContext, references: Sequence[EvaluationsRef], selected: str = "") -> list[EvaluatedRun]:
    """Every run of the study with its evaluations, in the study's order; digests are checked.

    Args:
        context: the study.
        references: manifests of evaluated runs.
        selected: in a round its runs; those of earlier rounds join them, and the rest may be missing.

    Raises:
        WorkspaceError: a run of the study is in no manifest, or a manifest was written for another study.
        StorageError: an evaluation is missing or altered.
    """
    for reference in references:
        require_study(reference, context.study.digest, "evaluations")
    runs = {run.id: run for reference in references for run in reference.runs}
    required = parse_selection(context.study, selected)
    if selected:
        runs = {run.id: run for run in read_rounds(context.study, context.store).runs} | runs
    collected: list[EvaluatedRun] = []
    for cell in context.study.cells:
        for arm in context.study.arms:
            for seed in context.study.seeds:
                run = RunId(cell.name, arm, seed)
                if run in runs:
                    collected.append((runs[run], read_evaluations(context, runs[run])))
                elif seed in required.get(cell.name, ()):
                    raise WorkspaceError(
                        "workspace.missing-run",
                        field=run.key,
                        problem="no manifest names this run",
                        remedy="pretrain and evaluate it, and pass its manifest",
                    )
    return collected


def read_evaluations(context: StudyContext, run: RunRef) -> list[Evaluation]:
    """The evaluations of a run's checkpoints, in order of steps; digests are checked.

    Raises:
        StorageError: one is missing or altered.
    """
    by_step = groupby(run.evaluations, key=lambda reference: reference.step)
    return [merge_parts([_part(context, reference) for reference in references]) for _, references in by_step]


def _part(context: StudyContext, reference: EvaluationRef) -> EvaluationPart:
    part = load_part(context.store.fetch(context.store.name_of(reference.uri), reference.digest))
    if part is None:
        raise WorkspaceError(
            "workspace.altered-evaluation",
            field=reference.uri,
            problem="is not an evaluation of this version",
            remedy="run `crossover evaluate` for this run again",
        )
    return part


def curves_of(runs: Sequence[EvaluatedRun]) -> dict[str, list[Any]]:
    """The columns that `analyse` takes: one row for each run, checkpoint and metric."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for run, results in runs:
        for result in results:
            for m in result.measurements:
                row = (
                    *(run.id.arm, run.id.seed, result.tokens, result.flops, result.seconds),
                    *(m.metric, m.value, m.stderr),
                )
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    return columns
