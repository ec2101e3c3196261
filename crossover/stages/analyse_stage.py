"""Step 4, the fan-in: evaluations become curves, curves become verdicts, verdicts become a report and a decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossover.analysis import analyse
from crossover.analysis.across import overview
from crossover.analysis.across.cross_cell_result import CellFacts
from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.data.dataset import Dataset
from crossover.errors import WorkspaceError
from crossover.evaluation.evaluation_records import Evaluation, load_evaluation
from crossover.files import digest_of, write_json
from crossover.stages.item_tables import item_tables
from crossover.stages.report_samples import draw_samples
from crossover.stages.round_state import HELD, missing_note, read_rounds, write_rounds
from crossover.stages.run_selection import parse_selection
from crossover.stages.stage_manifests import AnalysisRef, Candidate, EvaluationsRef, RunRef
from crossover.stages.study_context import StudyContext
from crossover.stages.study_report import write_study_report
from crossover.study.study_config import Cell, StudyConfig

PROMOTIONS = ("verdict", "always", "never")
BOUND_NOTE = (
    "The DLM's loss is an upper bound (NELBO): a DLM win by it is sound, a DLM loss by it is not proof. "
    "The chain-rule loss on a subset stands beside it in the registry as chain_rule_bpb."
)

EvaluatedRun = tuple[RunRef, list[Evaluation]]


def analyse_stage(
    context: StudyContext, references: Sequence[EvaluationsRef], *, promotion: str, selected: str = ""
) -> AnalysisRef:
    """Analyse all runs of the study, record the analysis, write the report, and decide.

    Args:
        context: the study.
        references: manifests of evaluated runs; together they hold every run of the study, or of the round.
        promotion: `verdict` promotes unless the evidence is insufficient, `always`, or `never`.
        selected: in a round its runs, as `steps.selection` writes them; those of earlier rounds join them, the rest
            may be missing, and nothing is promoted before the study is settled.

    Raises:
        WorkspaceError: an evaluation is missing, altered, or a run of the study is not there.
    """
    selected = selected.strip()
    runs = collect_runs(context, references, selected)
    dataset = Dataset.open(context.workspace.pull("dataset"))
    analyses: dict[str, Analysis] = {}
    cells: list[overview.Cell] = []
    for cell in context.study.cells:
        mine = [(run, results) for run, results in runs if run.cell == cell.name]
        if not mine:
            continue
        budget = next(b for b in dataset.manifest.budgets if b.unique_tokens == cell.unique_tokens)
        curves = curves_of(mine)
        analyses[cell.name] = analyse(
            curves,
            context.study.analysis,
            unique_tokens=budget.tokens,
            notes=(BOUND_NOTE, *missing_note(context.study, (run for run, _ in mine))),
            items=item_tables(mine, context.study.analysis),
        )
        record = analyses[cell.name].model_dump(mode="json")
        context.registry.record_analysis(context.study.digest, cell.name, record)
        cells.append(overview_cell(context.study, cell, curves, analyses[cell.name], budget.tokens))
    rounds = write_rounds(context, runs, analyses, selection=selected)
    whole_view = overview.overview(cells, context.study.analysis, next_runs=rounds.next_runs)
    for frontier in whole_view.frontiers:
        name = f"u{frontier.unique_tokens}-frontier"
        context.registry.record_analysis(context.study.digest, name, frontier.analysis.model_dump(mode="json"))
    folder = context.workspace.root / "analysis"
    whole = {name: analysis.model_dump(mode="json") for name, analysis in analyses.items()}
    write_json(folder / "analysis.json", whole)
    write_json(folder / "overview.json", whole_view.model_dump(mode="json"))
    largest = context.study.cell(list(analyses)[-1])
    best = {arm: best_candidate(context.study, largest, runs, arm) for arm in context.study.arms}
    files = write_study_report(context, dataset, runs, whole_view, analyses, draw_samples(context, dataset, best))
    report = context.workspace.uri_of(files.html)
    promotion = HELD if selected and rounds.next_selection else promotion
    reference = _decide(context, runs, analyses, promotion=promotion, digest=digest_of(whole), report=report)
    reference.write(folder / "manifest.json")
    context.workspace.push("analysis")
    return reference


def overview_cell(
    study: StudyConfig, cell: Cell, curves: dict[str, list[Any]], analysis: Analysis, tokens: int
) -> overview.Cell:
    """What the overview needs of a cell; `tokens` are those of one epoch."""
    model = study.model_config_of(cell)
    facts = CellFacts(
        cell=cell.name,
        unique_tokens=cell.unique_tokens,
        parameters=model.active_parameters,
        sparse=model.num_experts > 0,
    )
    compared = (study.analysis.baseline, study.analysis.candidate)
    ablations = {
        name: arm.isolates for name in study.arms if name not in compared and (arm := study.arm(name)).isolates
    }
    return overview.Cell(facts, curves, analysis, tokens, ablations)


def collect_runs(context: StudyContext, references: Sequence[EvaluationsRef], selected: str = "") -> list[EvaluatedRun]:
    """Every run of the study with its evaluations, in the study's order; digests are checked.

    In a round: the selected runs, and those of earlier rounds.
    """
    named = {run.key: run for reference in references for run in reference.runs}
    demanded = parse_selection(context.study, selected)
    if selected:
        named = {run.key: run for run in read_rounds(context).runs} | named
    collected: list[EvaluatedRun] = []
    for cell in context.study.cells:
        for arm in context.study.arms:
            for seed in context.study.seeds:
                key = f"{cell.name}/{arm}/seed-{seed}"
                if key not in named:
                    if seed not in demanded.get(cell.name, ()):
                        continue
                    raise WorkspaceError(
                        "workspace.missing-run",
                        field=key,
                        problem="no manifest names this run",
                        remedy="pretrain and evaluate it, and pass its manifest",
                    )
                collected.append((named[key], _evaluations(context, named[key])))
    return collected


def _evaluations(context: StudyContext, run: RunRef) -> list[Evaluation]:
    context.workspace.pull(f"runs/{run.key}/evaluation")
    results = []
    for file in run.files:
        result = load_evaluation(context.workspace.path_of(file.uri))
        if result is None or digest_of(result.model_dump(mode="json")) != file.digest:
            raise WorkspaceError(
                "workspace.altered-evaluation",
                field=file.uri,
                problem="is missing or not what the manifest names",
                remedy="run `crossover evaluate` for this run again",
            )
        results.append(result)
    return results


def curves_of(runs: Sequence[EvaluatedRun]) -> dict[str, list[Any]]:
    """The columns that `analyse` takes: one row a run, checkpoint and metric."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("arm", "seed", "tokens", "flops", "seconds", "metric", "value", "stderr")
    }
    for run, results in runs:
        for result in results:
            for m in result.measurements:
                row = (run.arm, run.seed, result.tokens, result.flops, result.seconds, m.metric, m.value, m.stderr)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    return columns


def best_candidate(study: StudyConfig, cell: Cell, runs: Sequence[EvaluatedRun], arm: str) -> Candidate:
    """The arm's best checkpoint in a cell by the primary metric, over its seeds; early stopping allowed."""
    metric = study.analysis.metrics[0]
    sign = 1.0 if metric.direction == "lower" else -1.0
    found = [
        Candidate(
            cell=cell.name, arm=arm, run=run.key, seed=run.seed, step=result.step, metric=metric.name, value=m.value
        )
        for run, results in runs
        if (run.cell, run.arm) == (cell.name, arm)
        for result in results
        for m in result.measurements
        if m.metric == metric.name
    ]
    return min(found, key=lambda candidate: sign * candidate.value)


def deciding_verdict(analysis: Analysis) -> Verdict:
    """The verdict that promotion follows: primary metric, first axis, early stopping allowed if it was analysed."""
    axis = analysis.plan.axes[0]
    metric = analysis.plan.metrics[0].name
    same = [v for v in analysis.verdicts if (v.metric, v.axis) == (metric, axis)]
    return next((v for v in same if v.comparison == "best-so-far"), same[0])


def favoured_arm(study: StudyConfig, verdict: Verdict, best: dict[str, Candidate]) -> str:
    """The arm to serve: what the verdict says, or the arm with the better best checkpoint when it says neither."""
    if verdict.word in ("AR", "DLM"):
        return study.analysis.baseline if verdict.word == "AR" else study.analysis.candidate
    if verdict.crossing is not None:
        family = verdict.crossing.direction[-3:].removeprefix("→")
        return study.analysis.candidate if family == "DLM" else study.analysis.baseline
    sign = 1.0 if study.analysis.metrics[0].direction == "lower" else -1.0
    return min((study.analysis.baseline, study.analysis.candidate), key=lambda arm: sign * best[arm].value)


def _decide(
    context: StudyContext,
    runs: Sequence[EvaluatedRun],
    analyses: dict[str, Analysis],
    *,
    promotion: str,
    digest: str,
    report: str,
) -> AnalysisRef:
    """Pick the cell with the best winner, and say whether it is promoted."""
    study = context.study
    sign = 1.0 if study.analysis.metrics[0].direction == "lower" else -1.0
    options = []
    for cell in (study.cell(name) for name in analyses):
        best = {arm: best_candidate(study, cell, runs, arm) for arm in study.arms}
        verdict = deciding_verdict(analyses[cell.name])
        options.append((best[favoured_arm(study, verdict, best)], best, verdict))
    winner, best, verdict = min(options, key=lambda option: sign * option[0].value)
    settled = verdict.word != "insufficient evidence"
    promote = promotion == "always" or (promotion == "verdict" and settled)
    reason = (
        f"{verdict.comparison} verdict on {verdict.metric}: {verdict.word}; best checkpoint of {winner.arm} "
        f"({study.arm(winner.arm).family}) at step {winner.step}, {winner.metric} {winner.value:.4f}; "
        f"promotion: {promotion}"
    )
    return AnalysisRef(
        study=study.digest,
        uri=context.workspace.uri_of(context.workspace.root / "analysis" / "analysis.json"),
        digest=digest,
        report=report,
        decision="promote" if promote else "hold",
        reason=reason,
        winner=winner,
        best=best,
    )
