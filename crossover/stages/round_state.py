"""A study in rounds: what has run, what it cost, and which runs the sequential design starts next.

The state is a document of its own, `rounds.json` of the workspace, written by each analysis.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from crossover.analysis.across.choice_by_verdicts import choice_by_verdicts
from crossover.analysis.across.cross_cell_result import NextRun
from crossover.analysis.across.sequential_design import CellState, Design, design, seeds_to_look
from crossover.analysis.analysis_plan import Comparison
from crossover.analysis.analysis_result import Analysis
from crossover.evaluation.evaluation_records import Evaluation
from crossover.stages.reuse import plan_reuse
from crossover.stages.run_selection import parse_selection, selection_text
from crossover.stages.stage_manifests import CellProgress, RoundsRef, RunRef
from crossover.stages.study_context import StudyContext
from crossover.stages.sweep_results import tuned_study
from crossover.stages.trained_seconds import trained_seconds
from crossover.storage import ANY, ArtifactStore
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig

DOCUMENT = "rounds.json"
HELD = "not before the study is settled"
"""What the decision says of promotion while rounds go on."""
CostOf = Mapping[tuple[str, str], float]
"""(cell, arm) to the cost of one run."""


def read_rounds(study: StudyConfig, store: ArtifactStore, trained: Collection[RunId] = ()) -> RoundsRef:
    """The state that the last analysis left; that of a study of which nothing was analysed when there is none.

    Args:
        study: the study; a revised one starts anew.
        store: of its workspace.
        trained: finished runs; before the first round, seeds with more of them come first.
    """
    document = store.read_document(DOCUMENT)
    if document is not None and document.value.get("study") == study.digest:
        return RoundsRef.model_validate(document.value)
    return _rounds(study, (), {}, selection="", trained=trained, seconds=trained_seconds(study, store, trained))


def next_round(study: StudyConfig, store: ArtifactStore) -> RoundsRef:
    """The state with all trained runs counted, analysed or not: the next runs are those that are yet to be trained.

    The selection holds every run of the round, also trained ones, which the pipeline reuses. Nothing is written.
    """
    study = tuned_study(study, store)
    trained = frozenset(plan_reuse(study, store).trained)
    state = read_rounds(study, store, trained)
    analysed = {run.id for run in state.runs}
    new = tuple(run for run in state.next_runs if RunId(run.cell, run.arm, run.seed) not in trained)
    selected = parse_selection(study, state.next_selection) if state.next_selection else {}
    done, compared = trained | analysed, (study.analysis.baseline, study.analysis.candidate)
    cells = []
    for cell in state.cells:
        pairs = sum(all(RunId(cell.cell, arm, seed) in done for arm in compared) for seed in study.seeds)
        reason = cell.reason
        if look := next((look for look in study.analysis.looks if look > cell.pairs), 0):
            reason = reason.replace(seeds_to_look(look - cell.pairs, look), seeds_to_look(look - pairs, look))
        if cell.cell in selected and not any(run.cell == cell.cell for run in new):
            reason = f"enough seed pairs are trained for the look at {look}, and not yet analysed."
        cells.append(cell.model_copy(update={"trained": pairs, "reason": reason}))
    unanalysed = sum(state.costs.get(f"{run.cell}/{run.arm}", 0.0) for run in trained - analysed)
    reason = state.reason if new or not selected else "; ".join(f"{cell.cell}: {cell.reason}" for cell in cells)
    reasons = {cell.cell: cell.reason for cell in cells}
    new = tuple(run.model_copy(update={"reason": reasons[run.cell]}) for run in new)
    planned = (RunId(cell.name, arm, seed) for cell in study.cells for arm in study.arms for seed in study.seeds)
    untrained = tuple(run for run in planned if run not in done)
    update = {
        "untrained": untrained,
        "next_runs": new,
        "cells": tuple(cells),
        "spent": state.spent + unanalysed,
        "reason": reason,
    }
    return state.model_copy(update=update)


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
    trained: Collection[RunId] = (),
    seconds: Mapping[RunId, float] = MappingProxyType({}),
) -> RoundsRef:
    unit, costs = run_costs(study, runs, seconds)
    states = [_state(study, cell.name, runs, analyses, costs, trained) for cell in study.cells]
    plan = design(states, study.analysis)
    chosen = _round(plan)
    return RoundsRef(
        study=study.digest,
        runs=tuple(run for run, _ in runs),
        selection=selection,
        next_selection=selection_text((run.cell, run.seed) for run in chosen),
        next_runs=chosen,
        cells=tuple(
            CellProgress(
                cell=o.cell,
                status=o.status,
                pairs=o.pairs,
                undecided=_undecided(analyses.get(o.cell)),
                reason=o.reason,
            )
            for o in plan.outlooks
        ),
        unit=unit,
        costs={f"{cell}/{arm}": cost for (cell, arm), cost in costs.items()},
        spent=plan.spent,
        full=plan.full,
        reason=plan.reason,
    )


def _undecided(analysis: Analysis | None) -> tuple[Comparison, ...]:
    """The halves of the answer that are open, without the headline, of which the status tells."""
    if analysis is None:
        return ()
    head = analysis.headline
    halves: tuple[Comparison, ...] = ("best-so-far", "matched")
    found = {half: choice_by_verdicts(analysis, head.metric, head.axis, half) for half in halves}
    return tuple(
        half for half, made in found.items() if made and made.choose == "cannot say" and half != head.comparison
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
    trained: Collection[RunId],
) -> CellState:
    done = {arm: [run.id.seed for run, _ in runs if (run.id.cell, run.id.arm) == (cell, arm)] for arm in study.arms}
    return CellState(
        cell=cell,
        analysis=analyses.get(cell),
        seeds_done=done,
        seeds_planned=sorted(
            study.seeds, key=lambda seed: -sum(RunId(cell, arm, seed) in trained for arm in study.arms)
        ),
        cost_per_run={arm: costs[cell, arm] for arm in study.arms},
    )


def run_costs(
    study: StudyConfig,
    runs: Sequence[tuple[RunRef, list[Evaluation]]],
    trained: Mapping[RunId, float] = MappingProxyType({}),
) -> tuple[Literal["hours", "FLOPs"], CostOf]:
    """What one run of each arm and cell costs: the mean hours of training measured, planned FLOPs before any.

    Arms and cells of which nothing has run get the hours that their planned FLOPs take at the rate of the others.

    Args:
        study: the study.
        runs: evaluated runs, with their evaluations.
        trained: runs that are trained and not among these, with their seconds.
    """
    planned = {(cell.name, arm): _flops(study, cell.name, arm) for cell in study.cells for arm in study.arms}
    seconds: dict[tuple[str, str], list[float]] = {}
    for run, results in runs:
        seconds.setdefault((run.id.cell, run.id.arm), []).append(results[-1].seconds)
    for run_id, taken in trained.items():
        seconds.setdefault((run_id.cell, run_id.arm), []).append(taken)
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
    steps = run_schedule(study.training_of(arm), study.evaluation_steps(cell, arm)).steps
    return steps * flops_per_step(study, cell_model(study, cell), study.arm(arm))
