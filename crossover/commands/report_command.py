"""`crossover report`: a study's report in short, and where it is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from crossover.commands.command_options import studies_in, workspace_at
from crossover.commands.report_renewal import renewal_note
from crossover.errors import StudyError, WorkspaceError
from crossover.files import write_text
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import ArtifactStore, open_store

if TYPE_CHECKING:
    from crossover.report import ReportContext


def report(options: argparse.Namespace) -> int:
    """Print the headline and the paths, or the report's JSON; with `--picture` write the headline's figure too."""
    from crossover.report import render_picture

    workspace = workspace_at(options.workspace)
    path = report_json(workspace)
    if options.picture:
        picture = render_picture(read_report(path))
        if picture is None:
            problem, remedy = "the report has no curves to draw", "leave --picture out"
            raise StudyError("report.no-picture", field="--picture", problem=problem, remedy=remedy)
        write_text(Path(options.picture), picture)
    if note := renewal_note(options.workspace, workspace, read_report(path)):
        print(note, file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(path.read_text("utf-8"), end="")
    else:
        print_report(path)
    return 0


def print_report(path: Path) -> None:
    """Print what to choose, the verdicts, and where the page is.

    Args:
        path: of report.json.
    """
    from crossover.report import headline, serving_lines

    context = read_report(path)
    print("\n".join((*headline(context), *serving_lines(context.serving), "", f"Report:  {path.with_suffix('.html')}")))


def read_report(path: Path) -> ReportContext:
    """A report as it was written.

    Raises:
        WorkspaceError: not a report, or one of another version of Crossover.
    """
    from crossover.report import ReportContext

    try:
        return ReportContext.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise WorkspaceError(
            "report.other-version",
            field=str(path),
            problem=f"is not a report of this version ({'.'.join(map(str, first['loc']))}: {first['msg']})",
            remedy="run `crossover analyse` on the study again; nothing is trained anew",
        ) from error


def report_json(workspace: str) -> Path:
    """The file of a workspace's report, on this machine.

    Raises:
        WorkspaceError: it holds none; says how much is done, or where there are studies.
    """
    store = open_store(workspace)
    inside = studies_in(workspace)
    if store.digest("analysis") is None and inside:
        problem = "holds no report; it is a folder of studies"
        raise WorkspaceError(
            "report.missing", field=workspace, problem=problem, remedy=f"name one: {', '.join(inside)}"
        )
    if store.digest("analysis") is None:
        done, remedy = "", "run `crossover run` on the study first, or name its folder"
        if document := store.read_document(STUDY_FILE):
            done = f" yet: {_done_text(document.value['study'], store)}"
            remedy = "`crossover run` writes it at its end; for the points so far: "
            remedy += '`crossover registry query "SELECT * FROM v_curves"`'
        raise WorkspaceError("report.missing", field=workspace, problem=f"holds no report{done}", remedy=remedy)
    return store.fetch("analysis") / "report.json"


def _done_text(study: dict[str, Any], store: ArtifactStore) -> str:
    """How much of a study is done: `runs 4 of 10, evaluations 12 of 120`."""
    from crossover.stages.reuse import plan_reuse
    from crossover.study.study_config import StudyConfig

    rows = {row.artifact: row for row in plan_reuse(StudyConfig.model_validate(study), store).rows}
    return ", ".join(f"{name} {rows[name].reused} of {sum(rows[name][1:])}" for name in ("runs", "evaluations"))
