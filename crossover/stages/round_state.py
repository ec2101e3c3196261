"""A study in rounds: what has run, what it cost, and which runs the sequential design starts next.

The state is a document of its own, `rounds.json` of the workspace, written by each analysis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from crossover.analysis.across.cross_cell_result import NextRun
from crossover.analysis.across.sequential_design import CellState, Design, design
from crossover.analysis.analysis_result import Analysis
from crossover.evaluation.evaluation_records import Evaluation
from crossover.stages.run_selection import selection_text
from crossover.stages.stage_manifests import CellProgress, RoundsRef, RunRef
from crossover.stages.study_context import StudyContext
from crossover.storage import ANY, ArtifactStore
from crossover.study.study_config import StudyConfig

DOCUMENT = "rounds.json"
HELD = "not before the study is settled"
"""What the decision says of promotion while rounds go on."""
CostOf = Mapping[tuple[str, str], float]
"""(cell, arm) to the cost of one run."""


def read_rounds(study: StudyConfig, store: ArtifactStore) -> RoundsRef:
    """The state that the last analysis left; that of a study of which nothing has run when there is none.

    A revised study starts anew: what it shares with the revision before is reused when its first round runs.
    """
    document = store.read_document(DOCUMENT)
    if document is not None and document.value.get("study") == study.digest:
        return RoundsRef.model_validate(document.value)
    return _rounds(study, (), {}, selection="")


def write_rounds(
    context: StudyContext,
    runs: Sequence[tuple[RunRef, list[Evaluation]]],
    analyses: Mapping[str, Analysis],
    *,
    selection: str,
) -> RoundsRef:
    """Ask the design what comes next, and keep the state."""
    state = _rounds(context.study, runs, analyses, selection=selection)
    context.store.write_document(DOCUMENT, state.model_dump(mode="json"), replaces=ANY)
    return state


def missing_note(study: StudyConfig, runs: Iterable[RunRef]) -> tuple[str, ...]:
    """What a reader must know of a cell that has not all its seeds yet."""
    seeds = {run.id.seed for run in runs}
    if len(seeds) == len(study.seeds):
        return ()
    looks = ", ".join(map(str, study.analysis.looks))
    return (
        f"This study is run in rounds: {len(seeds)} of {len(study.seeds)} planned seeds have run in this cell, "
        f"and it is judged at {looks} seed pairs only.",
    )


def _rounds(
    study: StudyConfig,
    runs: Sequence[tuple[RunRef, list[Evaluation]]],
    analyses: Mapping[str, Analysis],
    *,
    selection: str,
) -> RoundsRef:
    unit, costs = run_costs(study, runs)
    plan = design([_state(study, cell.name, runs, analyses, costs) for cell in study.cells], study.analysis)
    chosen = _round(plan)
    return RoundsRef(
        study=study.digest,
        runs=tuple(run for run, _ in runs),
        selection=selection,
        next_selection=selection_text((run.cell, run.seed) for run in chosen),
        next_runs=chosen,
        cells=tuple(CellProgress(cell=o.cell, status=o.status, pairs=o.pairs, reason=o.reason) for o in plan.outlooks),
        unit=unit,
        spent=plan.spent,
        full=plan.full,
        reason=plan.reason,
    )


def _round(plan: Design) -> tuple[NextRun, ...]:
    """The runs of one round: every cell's way to its first look, and from then on the best cell's to its next."""
    new = [outlook for outlook in plan.outlooks if outlook.status == "open" and not outlook.pairs]
    return tuple(run for outlook in new or plan.outlooks[:1] for run in outlook.runs)


def _state(
    study: StudyConfig,
    cell: str,
    runs: Sequence[tuple[RunRef, list[Evaluation]]],
    analyses: Mapping[str, Analysis],
    costs: CostOf,
) -> CellState:
    done = {arm: [run.id.seed for run, _ in runs if (run.id.cell, run.id.arm) == (cell, arm)] for arm in study.arms}
    return CellState(
        cell=cell,
        analysis=analyses.get(cell),
        seeds_done=done,
        seeds_planned=study.seeds,
        cost_per_run={arm: costs[cell, arm] for arm in study.arms},
    )


def run_costs(
    study: StudyConfig, runs: Sequence[tuple[RunRef, list[Evaluation]]]
) -> tuple[Literal["hours", "FLOPs"], CostOf]:
    """What one run of each arm and cell costs: the mean hours of training measured, planned FLOPs before any.

    Arms and cells of which nothing has run get the hours that their planned FLOPs take at the rate of the others.
    """
    planned = {(cell.name, arm): _flops(study, cell.name, arm) for cell in study.cells for arm in study.arms}
    seconds: dict[tuple[str, str], list[float]] = {}
    for run, results in runs:
        seconds.setdefault((run.id.cell, run.id.arm), []).append(results[-1].seconds)
    hours = {key: sum(values) / len(values) / 3600 for key, values in seconds.items() if sum(values) > 0}
    if not hours:
        return "FLOPs", planned
    rate = sum(hours.values()) / sum(planned[key] for key in hours)
    return "hours", {key: hours.get(key, flops * rate) for key, flops in planned.items()}


def _flops(study: StudyConfig, cell_name: str, arm: str) -> float:
    from crossover.training.planner import flops_per_step
    from crossover.training.run_schedule import run_schedule
    from crossover.training.run_spec import cell_model

    cell = study.cell(cell_name)
    steps = run_schedule(study.training, study.evaluation_steps(cell)).steps
    return steps * flops_per_step(study, cell_model(study, cell), study.arm(arm))
