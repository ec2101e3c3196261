"""`crossover report`: a study's report in short, and where it is."""

from __future__ import annotations

import argparse

from crossover.errors import WorkspaceError
from crossover.workspace import Workspace


def report(options: argparse.Namespace) -> int:
    """Print the headline and the paths, or the report's JSON."""
    from crossover.analysis.report import ReportContext, headline

    folder = Workspace(options.workspace).pull("analysis")
    path = folder / "report.json"
    if not path.is_file():
        raise WorkspaceError(
            "report.none",
            field=options.workspace,
            problem="holds no report",
            remedy="run `crossover run` on the study first, or name its folder",
        )
    text = path.read_text("utf-8")
    if options.json:
        print(text, end="")
        return 0
    for line in headline(ReportContext.model_validate_json(text)):
        print(line)
    print(f"\nReport:  {folder / 'report.html'}")
    return 0
