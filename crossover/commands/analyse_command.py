"""`crossover analyse`: a finished study, under its own plan or another; or with --curves anybody's curves."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.commands.plan_flags import curve_flag, other_plan, plan_of, wide_metrics
from crossover.curve_files import read_curves, split_cells
from crossover.curve_files.cells import MOST_COUNT
from crossover.errors import StudyError
from crossover.files import digest_of, digest_of_file, workspace_error
from crossover.stages.judged_curves import Judged, judge_cells, write_judged


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
    cells = split_cells(table, plan, unique_tokens=token_count(options.unique_tokens))
    if options.out:
        _make(Path(options.out))
    judged = judge_cells(table, cells, plan)
    if options.out:
        digest = digest_of({"curves": digest_of_file(path), "plan": plan.model_dump(mode="json")})
        write_judged(Path(options.out), path.name, digest, plan, judged)
    if options.json:
        records = ",\n".join(f"{json.dumps(cell.cell)}: {analysis.model_dump_json()}" for cell, analysis in judged)
        print(f"{{{records}}}")
    else:
        print_judged(judged, Path(options.out) if options.out else None)
    return 0


def _analyse_study(options: argparse.Namespace) -> int:
    """Stage 4 of a study; under another plan, its verdicts beside those of the study's own."""
    from crossover.commands.report_command import print_report
    from crossover.stages.analyse_stage import FOLDER, analyse_other_plan, analyse_stage
    from crossover.stages.stored_results import check_finished, measured_runs
    from crossover.stages.study_context import open_study
    from crossover.stages.sweep_results import tuned_study
    from crossover.storage import open_store

    study = study_of(options)
    store = open_store(workspace_of(options, study))
    study = tuned_study(study, store)
    plan = other_plan(options, study)
    check_finished(study, store)  # before the workspace is this study's
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
    from crossover.report import answer, verdict_line

    if as_json:
        print(json.dumps({cell: analysis.model_dump(mode="json") for cell, analysis in analyses.items()}))
        return
    for cell, analysis in analyses.items():
        print(f"[{cell}] ANSWER: {answer(analysis)}.")
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


def token_count(tokens: float | None) -> int | None:
    """The number of --unique-tokens.

    Raises:
        StudyError: it is no positive whole number.
    """
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


def print_judged(judged: Sequence[Judged], folder: Path | None) -> None:
    """The answer; every verdict on two lines: what, and why; then the notes."""
    from crossover.report import answer, verdict_line

    for cell, analysis in judged:
        prefix = f"[{cell.cell}] " if len(judged) > 1 else ""
        print(f"{prefix}ANSWER: {answer(analysis)}.")
        for verdict in analysis.verdicts:
            print(f"{prefix}{verdict_line(analysis, verdict)}\n    {verdict.reason}")
        for note in analysis.notes:
            print(f"{prefix}note: {note}")
    if folder:
        print(f"\nReport:  {folder / 'report.html'}")
