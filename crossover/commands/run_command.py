"""`crossover run`: the pipeline of a study on this machine, and its result."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import yaml

from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.commands.local_run import run_study
from crossover.commands.report_command import read_report
from crossover.errors import StudyError
from crossover.stages.workspace import Workspace


def run(options: argparse.Namespace) -> int:
    """Run a study's pipeline; print the verdicts, the report's path, and the commands to go on with.

    Raises:
        StudyError: the study or a flag is wrong.
        StageFailedError: a stage of the pipeline failed.
        WorkspaceError: the workspace holds a different study, is in use, or cannot be written.
    """
    study = study_of(options)
    if options.print_study:
        print(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True), end="")
        return 0
    if options.seeds_per_task is not None and options.seeds_per_task < 1:
        raise StudyError(
            "run.bad-seeds-per-task", field="--seeds-per-task", problem="must be at least 1", remedy="give 1 or more"
        )
    workspace = workspace_of(options, study)
    Workspace(workspace).check(study)
    start = partial(
        run_study,
        study,
        workspace,
        registry=registry_of(options),
        promotion=options.promote,
        seeds_per_task=options.seeds_per_task,
        quiet=options.json,
    )
    if options.rounds:
        from crossover.commands.rounds_command import run_rounds

        folder = run_rounds(options, study, lambda runs: start(runs=runs))
    else:
        folder = start()
    _print_outcome(folder, as_json=options.json)
    return 0


def _print_outcome(folder: Path, *, as_json: bool) -> None:
    from crossover.report import headline
    from crossover.stages.stage_manifests import AnalysisRef

    context = read_report(folder / "analysis" / "report.json")
    decision = AnalysisRef.read(folder / "analysis" / "decision.json")
    if as_json:
        verdicts = {cell.cell: [v.model_dump(mode="json") for v in cell.analysis.verdicts] for cell in context.cells}
        print(json.dumps({"verdicts": verdicts, "decision": decision.model_dump(mode="json")}, indent=1))
        return
    print()
    print("\n".join(headline(context)))
    print(f"\nDecision:  {decision.decision} ({decision.reason})")
    print(f"Report:    {folder / 'analysis' / 'report.html'}")
    print(f"Look on:   {context.sql}")
    print("Pages:     crossover registry serve")
    print(f"Serve:     crossover serve {folder}")
