"""Stage 4, the fan-in: evaluations become curves, curves become verdicts, verdicts become a report and a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crossover.analysis import analyse
from crossover.analysis.across import study_overview
from crossover.analysis.across.budget_advice import advise_all
from crossover.analysis.across.cross_cell_result import CellFacts, Overview
from crossover.analysis.analyse_cell import METHOD
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis
from crossover.data.dataset import Dataset
from crossover.errors import StorageError
from crossover.files import read_json, write_json
from crossover.report import ReportContext, ReportFiles, write_report
from crossover.report.study_record import study_records
from crossover.stages.evaluated_runs import EvaluatedRun, collect_runs, curves_of
from crossover.stages.item_tables import item_tables
from crossover.stages.prepare_stage import prepared_dataset
from crossover.stages.promotion_decision import best_candidate, decide_promotion
from crossover.stages.report_samples import draw_samples
from crossover.stages.round_state import HELD, missing_note, write_rounds
from crossover.stages.stage_manifests import AnalysisRef, EvaluationsRef
from crossover.stages.study_context import StudyContext
from crossover.stages.study_report import read_analyses, study_report
from crossover.stages.sweep_warnings import warned_of_sweep, warned_overview
from crossover.study.arms import Schedule
from crossover.study.study_config import Cell, StudyConfig
from crossover.study.study_digests import analysis_digest, short
from crossover.training.run_spec import cell_model

FOLDER, DECISION, HISTORY = "analysis", "analysis/decision.json", "analyses.json"
OTHER_PLANS = "other-plans"
BOUND_NOTE = (
    "The DLM's loss is an upper bound (NELBO): a DLM win by it is sound, a DLM loss by it is not proof. "
    "The chain-rule loss on a subset stands beside it in the registry as chain_rule_bpb."
)
SCHEDULE_NOTES = {
    "wsd": "The learning rate decays at the end of each measured budget, on a branch of its own and over the same "
    "share in both arms (wsd): every point is a budget.",
    "cosine": "The learning rate decays by a cosine over the whole run, alike in both arms: only the last point of a "
    "run is a budget, and a crossing before it compares unfinished runs.",
}
OWN_SCHEDULES_NOTE = (
    "The compared arms have learning-rate schedules of their own, so that a point may be a finished budget of one arm "
    "and an unfinished run of the other (under cosine all but the last are unfinished):"
)
UNPLANNED_NOTE = (
    "These runs had been analysed under another plan before this one was written: these verdicts were not planned in "
    "advance, and error rates hold only for a plan that was fixed before the results were seen."
)
GROWN_NOTE = (
    "These runs had been analysed under this plan with fewer seeds, and the plan has no looks (analysis.looks), which "
    "would pay for judging a study while it grows: its verdicts err more often than its level says."
)


def analyse_stage(
    context: StudyContext, references: Sequence[EvaluationsRef], *, promotion: str, selected: str = ""
) -> AnalysisRef:
    """Analyse all runs of the study, record the analysis, write the report, and decide.

    Args:
        context: the study.
        references: manifests of evaluated runs; together they hold every run of the study, or of the round.
        promotion: `verdict` promotes unless the evidence is insufficient, `always`, or `never`.
        selected: in a round its runs, as `stages.run_selection` writes them; those of earlier rounds join them, the
            rest may be missing, and nothing is promoted before the study is settled.

    Raises:
        WorkspaceError: a run of the study is not there.
        StorageError: an evaluation is missing or altered.
    """
    selected, study = selected.strip(), context.study
    runs = collect_runs(context, references, selected)
    dataset = prepared_dataset(context)
    digest = _digest(context, runs)
    analyses, cells = _stored(context, digest), None
    if not analyses:
        analyses, cells = analyse_cells(context.study, dataset, runs, _notes(context))
    recorded = {
        cell: context.registry.record_analysis(study.digest, cell, analysis.model_dump(mode="json"))
        for cell, analysis in analyses.items()
    }
    rounds = write_rounds(context, runs, analyses, selection=selected)
    if cells is not None:
        summary = study_overview.overview(
            cells, study.analysis, next_runs=rounds.next_runs, draws=study.evaluation.nelbo_draws
        )
        summary = warned_overview(study, study.analysis, summary)
    else:
        stored = Overview.model_validate(read_json(context.store.path(FOLDER) / "overview.json"))
        analysed = [(facts, analyses[facts.cell]) for facts in stored.cells if facts.cell in analyses]
        advice = advise_all(analysed, draws=study.evaluation.nelbo_draws)
        summary = stored.model_copy(update={"next_runs": rounds.next_runs, "advice": advice})
    folder = context.store.path(FOLDER)
    largest = study.cell(list(analyses)[-1])
    best = {arm: best_candidate(study, largest, runs, arm) for arm in study.arms}
    report = study_report(context, dataset, runs, summary, analyses, draw_samples(context, dataset, best))
    files = _write(report, folder)
    for name, record in study_records(report).items():
        context.registry.record_analysis(study.digest, name, record)
    promotion = HELD if selected and rounds.next_selection else promotion
    decision = decide_promotion(study, runs, analyses, promotion=promotion)
    reference = AnalysisRef(
        study=study.digest,
        uri=context.store.uri_of(FOLDER),
        digest=digest,
        report=f"{context.store.uri_of(FOLDER)}/{files.html.name}",
        decision="promote" if decision.promote else "hold",
        reason=decision.reason,
        winner=decision.winner,
        winner_analysis=recorded[decision.winner.run.cell],
        best=decision.best,
    )
    reference.write(folder / "decision.json")
    context.store.publish(FOLDER)
    return reference


def analyse_other_plan(
    context: StudyContext, references: Sequence[EvaluationsRef], plan: AnalysisPlan
) -> tuple[dict[str, Analysis], dict[str, Analysis], str]:
    """Analyse a finished study under a plan that is not its own. Nothing is decided, promoted or recorded.

    Args:
        context: the study.
        references: manifests of evaluated runs; together they hold every run of the study.
        plan: the other plan, completed as `StudyConfig` completes it.

    Returns:
        The analyses by cell under the study's own plan, those under the other, and the URI of the other's report.
    """
    study, runs = context.study, collect_runs(context, references)
    dataset = prepared_dataset(context)
    # the study's own plan is on record first, also where nobody has looked at its verdicts yet
    planned = _stored(context, _digest(context, runs)) or analyse_cells(study, dataset, runs, _notes(context))[0]
    other = replace(context, study=study.model_copy(update={"analysis": plan}))
    analyses, cells = analyse_cells(other.study, dataset, runs, _notes(other))
    name = f"{OTHER_PLANS}/{short(other.study.plan_digest)}"
    summary = study_overview.overview(cells, plan, draws=study.evaluation.nelbo_draws)
    summary = warned_overview(study, plan, summary)
    files = _write(study_report(context, dataset, runs, summary, analyses, samples={}), context.store.path(name))
    context.store.publish(name)
    return planned, analyses, f"{context.store.uri_of(name)}/{files.html.name}"


def _write(report: ReportContext, folder: Path) -> ReportFiles:
    """Write analysis.json, overview.json and the report into a folder that is yet to be published."""
    (folder / "manifest.json").unlink(missing_ok=True)  # from here on incomplete
    write_json(folder / "analysis.json", {cell.cell: cell.analysis.model_dump(mode="json") for cell in report.cells})
    write_json(folder / "overview.json", report.overview.model_dump(mode="json"))
    return write_report(report, folder)


def _digest(context: StudyContext, runs: Sequence[EvaluatedRun]) -> str:
    evaluations = [reference.digest for run, _ in runs for reference in run.evaluations]
    return analysis_digest(context.study.analysis, evaluations, _notes(context), METHOD)


def _notes(context: StudyContext) -> tuple[str, ...]:
    """What readers of every cell's analysis must know; keeps the plans, and numbers of seeds, that were analysed."""
    document = context.store.read_document(HISTORY)
    history: list[dict[str, Any]] = list(document.value) if document else []
    plan, seeds = context.study.plan_digest, len(context.study.seeds)
    unplanned = bool(history) and history[0]["plan"] != plan
    grown = not context.study.analysis.looks and any(
        entry["plan"] == plan and entry.get("seeds", seeds) < seeds for entry in history
    )
    if (plan, seeds) not in [(entry["plan"], entry.get("seeds", seeds)) for entry in history]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        history.append({"plan": plan, "study": context.study.digest, "seeds": seeds, "at": now})
        context.store.write_document(HISTORY, history, replaces=document.version if document else None)
    compared = (context.study.analysis.baseline, context.study.analysis.candidate)
    bound = any(context.study.arm(arm).family == "DLM" for arm in compared)
    schedule = _schedule_note({arm: context.study.training_of(arm).schedule for arm in compared})
    sweep = context.study.tuning.note(context.study.arms, context.study.cells[0].quality)
    told = (*[BOUND_NOTE] * bound, *[sweep] * bool(sweep), *[schedule] * bool(schedule))
    return (*told, *[UNPLANNED_NOTE] * unplanned, *[GROWN_NOTE] * grown)


def _schedule_note(schedules: Mapping[str, Schedule]) -> str:
    """What readers must know of the compared arms' learning-rate schedules; empty for constant rates."""
    if len(set(schedules.values())) == 1:
        return SCHEDULE_NOTES.get(next(iter(schedules.values())), "")
    text = ", ".join(f"{arm} {schedule}" for arm, schedule in schedules.items())
    return f"{OWN_SCHEDULES_NOTE} {text}."


def _stored(context: StudyContext, digest: str) -> dict[str, Analysis]:
    """The analyses of the last time, if their evaluations and plan are the same; empty otherwise."""
    document = context.store.read_document(DECISION)
    if document is None or document.value.get("digest") != digest:
        return {}
    try:
        stored = read_analyses(context.store.fetch(FOLDER) / "analysis.json")
    except StorageError:
        return {}
    return {cell.name: stored[cell.name] for cell in context.study.cells if cell.name in stored}


def analyse_cells(
    study: StudyConfig, dataset: Dataset, runs: Sequence[EvaluatedRun], notes: Sequence[str]
) -> tuple[dict[str, Analysis], list[study_overview.CellInput]]:
    """The analysis of each cell that has runs, and what the overview needs of it."""
    analyses: dict[str, Analysis] = {}
    cells: list[study_overview.CellInput] = []
    for cell in study.cells:
        of_cell = [(run, results) for run, results in runs if run.id.cell == cell.name]
        if not of_cell:
            continue
        tokens = dataset.manifest.budget(cell.unique_tokens, cell.quality).tokens
        curves = curves_of(of_cell)
        analysis = analyse(
            curves,
            study.analysis,
            unique_tokens=tokens,
            notes=(*notes, *missing_note(study, (run for run, _ in of_cell))),
            items=item_tables(of_cell, study.analysis),
        )
        analyses[cell.name] = warned_of_sweep(study, analysis, [cell.name])
        cells.append(overview_cell(study, cell, curves, analyses[cell.name], tokens))
    return analyses, cells


def overview_cell(
    study: StudyConfig, cell: Cell, curves: dict[str, list[Any]], analysis: Analysis, tokens: int
) -> study_overview.CellInput:
    """What the overview needs of a cell; `tokens` are those of one epoch."""
    model = cell_model(study, cell)
    facts = CellFacts(
        cell=cell.name,
        unique_tokens=cell.unique_tokens,
        parameters=model.active_parameters,
        sparse=model.num_experts > 0,
        quality=cell.quality,
    )
    compared = (study.analysis.baseline, study.analysis.candidate)
    ablations = {
        name: arm.isolates for name in study.arms if name not in compared and (arm := study.arm(name)).isolates
    }
    return study_overview.CellInput(facts, curves, analysis, tokens, ablations)
