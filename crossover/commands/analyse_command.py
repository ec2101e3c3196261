"""`crossover analyse`: a finished study, under its own plan or another; or with --curves anybody's curves."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import crossover
from crossover.analysis.across.cross_cell_result import CellFacts, Overview
from crossover.analysis.across.study_overview import CellInput, overview
from crossover.analysis.analyse_cell import analyse as judge
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.commands.plan_flags import curve_flag, other_plan, plan_of, wide_metrics
from crossover.curve_files import CellCurves, CurveTable, listing, read_curves, split_cells
from crossover.curve_files.cells import MOST_COUNT
from crossover.errors import CurvesError, StudyError
from crossover.files import digest_of, digest_of_file, workspace_error, write_json

Judged = tuple[CellCurves, Analysis]


def analyse(options: argparse.Namespace) -> int:
    """Judge a study's runs, or a file of curves.

    Raises:
        StudyError: both or neither were named, or the plan is wrong.
        CurvesError: the file is no table of curves; says the column, the row and the remedy.
        WorkspaceError: the report cannot be written.
    """
    if bool(options.study) == bool(options.curves):
        problem = "stands beside --curves" if options.study else "is missing"
        remedy = "name a study, or give --curves FILE"
        raise StudyError("analyse.study-or-curves", field="STUDY", problem=problem, remedy=remedy)
    if options.study:
        if flag := curve_flag(options):
            problem, remedy = "is for --curves, and a study has its own", "leave it out"
            raise StudyError("analyse.study-or-curves", field=flag, problem=problem, remedy=remedy)
        return _analyse_study(options)
    path = Path(options.curves)
    table = read_curves(path, wide=wide_metrics(options) if options.wide else None)
    plan = plan_of(options, table)
    cells = split_cells(table, plan, unique_tokens=_count(options.unique_tokens))
    if options.out:
        _make(Path(options.out))
    judged = [(cell, _judge(cell, plan, _notes(table, cell), several=len(cells) > 1)) for cell in cells]
    if options.out:
        _write(Path(options.out), path, plan, judged)
    if options.json:
        records = ",\n".join(f"{json.dumps(cell.cell)}: {analysis.model_dump_json()}" for cell, analysis in judged)
        print(f"{{{records}}}")
    else:
        _print(judged, options.out)
    return 0


def _analyse_study(options: argparse.Namespace) -> int:
    """Stage 4 of a study; under another plan, its verdicts beside those of the study's own."""
    from crossover.commands.report_command import print_report
    from crossover.stages.analyse_stage import FOLDER, analyse_other_plan, analyse_stage
    from crossover.stages.stored_results import measured_runs
    from crossover.stages.study_context import open_study

    study = study_of(options)
    plan = other_plan(options, study)
    with open_study(study, workspace_of(options, study), registry_of(options)) as context:
        runs = measured_runs(context)
        if plan is not None and plan != study.analysis:
            planned, analyses, report = analyse_other_plan(context, runs, plan)
            _print_changes(planned, analyses, report, as_json=options.json)
            return 0
        decision = analyse_stage(context, runs, promotion=options.promote)
        report_file = context.store.path(FOLDER) / "report.json"
    if options.json:
        print(decision.model_dump_json(indent=1))
    else:
        print_report(report_file)
        print(f"Decision:  {decision.decision} ({decision.reason})")
    return 0


def _print_changes(
    planned: Mapping[str, Analysis], analyses: Mapping[str, Analysis], report: str, *, as_json: bool
) -> None:
    """The verdicts under another plan; where one differs, what the study's own plan gave."""
    from crossover.report import verdict_line

    if as_json:
        print(json.dumps({cell: analysis.model_dump(mode="json") for cell, analysis in analyses.items()}))
        return
    for cell, analysis in analyses.items():
        own = {_question(verdict): verdict for verdict in planned[cell].verdicts}
        for verdict in analysis.verdicts:
            print(f"[{cell}] {verdict_line(analysis, verdict)} [by {verdict.axis}]")
            before = own.get(_question(verdict))
            if before is None:
                print("    not in the study's plan")
            elif _outcome(before) == _outcome(verdict):
                print("    same outcome under the study's plan")
            else:
                print(f"    CHANGED; under the study's plan: {verdict_line(planned[cell], before)}")
        for note in analysis.notes:
            print(f"[{cell}] note: {note}")
    print(f"\nReport:  {report}")


def _question(verdict: Verdict) -> tuple[str, ...]:
    """What a verdict is about."""
    return (verdict.metric, verdict.axis, verdict.comparison, verdict.baseline, verdict.candidate)


def _outcome(verdict: Verdict) -> tuple[str, str]:
    return verdict.outcome, verdict.crossing.direction if verdict.crossing else ""


def _make(folder: Path) -> None:
    """The folder of the report, before the time of a large file is spent."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise workspace_error(folder, error) from error


def _judge(cell: CellCurves, plan: AnalysisPlan, notes: Sequence[str], *, several: bool) -> Analysis:
    """One cell's analysis; of several cells, what is wrong in one says which."""
    try:
        return judge(cell.curves, plan, unique_tokens=cell.unique_tokens, notes=notes)
    except CurvesError as error:
        if not several:
            raise
        problem = f"in cell {cell.cell!r}, {error.problem}"
        raise CurvesError(error.code, field=error.field, problem=problem, remedy=error.remedy) from error


def _count(tokens: float | None) -> int | None:
    if tokens is None:
        return None
    if not 1 <= tokens < MOST_COUNT or tokens != int(tokens):
        raise StudyError(
            "analyse.bad-unique-tokens",
            field="--unique-tokens",
            problem=f"{tokens:g} is no positive whole number below 2^53",
            remedy="give the tokens of one epoch",
        )
    return int(tokens)


def _notes(table: CurveTable, cell: CellCurves) -> tuple[str, ...]:
    unused = (f"Columns of the file that were not used: {listing(table.unused)}.",) if table.unused else ()
    return (*table.notes, *cell.notes, *unused)


def _print(judged: Sequence[Judged], out: str | None) -> None:
    """Every verdict on two lines: what, and why; then the notes."""
    from crossover.report import verdict_line

    for cell, analysis in judged:
        prefix = f"[{cell.cell}] " if len(judged) > 1 else ""
        for verdict in analysis.verdicts:
            print(f"{prefix}{verdict_line(analysis, verdict)}\n    {verdict.reason}")
        for note in analysis.notes:
            print(f"{prefix}note: {note}")
    if out:
        print(f"\nReport:  {Path(out) / 'report.html'}")


def _write(folder: Path, path: Path, plan: AnalysisPlan, judged: Sequence[Judged]) -> None:
    """analysis.json, overview.json and the report in its three forms."""
    from crossover.report import CellReport, ReportContext, write_report

    summary = _overview(judged, plan)
    write_json(folder / "analysis.json", {cell.cell: a.model_dump(mode="json") for cell, a in judged})
    write_json(folder / "overview.json", summary.model_dump(mode="json"))
    digest = digest_of({"curves": digest_of_file(path), "plan": plan.model_dump(mode="json")})
    write_report(
        ReportContext(
            study=path.name,
            study_digest=digest,
            question=f"Do the curves in {path.name} cross?",
            cells=tuple(
                CellReport(cell=c.cell, unique_tokens=c.unique_tokens, parameters=c.parameters, analysis=analysis)
                for c, analysis in judged
            ),
            overview=summary,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            version=crossover.__version__,
            upper_bound_metrics=(),
        ),
        folder,
    )


def _overview(judged: Sequence[Judged], plan: AnalysisPlan) -> Overview:
    """What the cells say together, where each has its unique tokens and parameters."""
    cells = []
    for cell, analysis in judged:
        if cell.unique_tokens is None or cell.parameters is None:
            return Overview()
        facts = CellFacts(cell=cell.cell, unique_tokens=cell.unique_tokens, parameters=cell.parameters)
        cells.append(CellInput(facts, cell.curves, analysis, cell.unique_tokens))
    return overview(cells, plan)
