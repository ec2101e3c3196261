"""Whether a stored report is of the study as it is now, and has all that this version says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.commands.command_options import study_file
from crossover.stages.serving_record import read_serving
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import open_store
from crossover.study.changed_fields import changed_fields, dotted_fields
from crossover.study.load_study import load_study

if TYPE_CHECKING:
    from crossover.report import ReportContext


def renewal_note(place: str, workspace: str, context: ReportContext) -> str:
    """One sentence on what a reader must know of a report that is not the newest; empty where it is.

    Args:
        place: the study's file or workspace as it was named.
        workspace: the workspace.
        context: the report.
    """
    if not context.measured_here:
        return ""
    document = open_store(workspace).read_document(STUDY_FILE)
    record: dict[str, Any] = document.value if document else {}
    recorded = dotted_fields(record.get("study", {}))
    if study_file(place):
        study = load_study(place)
        digest, fields_now = study.digest, dotted_fields(study.model_dump(mode="json"))
    else:  # as it was written, perhaps by another version
        digest, fields_now = record.get("digest", context.study_digest), recorded
    if digest != context.study_digest:
        before = recorded if record.get("digest") == context.study_digest else _of_report(context)
        was, now = changed_fields(before, fields_now)
        fields = f": {', '.join(was)} (now {', '.join(now)})" if was else ""
        rounds = " --rounds" if fields_now.get("analysis.looks") else ""
        command = f"`crossover run {place}{rounds}` trains what is missing and analyses it anew"
        return (
            f"The analysis is of an earlier revision of this study{fields}; {command} (`crossover plan` has the price)."
        )
    measured = read_serving(open_store(workspace))
    if measured and (context.serving is None or context.serving.measured_at < measured.measured_at):
        return f"Serving was measured after this report was written: `crossover analyse {place}` adds it."
    if any(not advice.experiments for advice in context.overview.advice):
        return f"Written by an earlier version of the advice: run `crossover analyse {place}` to renew the page."
    return ""


def _of_report(context: ReportContext) -> dict[str, Any]:
    """What a report tells of its study's fields."""
    plan = context.cells[0].analysis.plan.model_dump(mode="json")
    seeds = sorted({run.seed for cell in context.cells for run in cell.runs})
    return {"seeds": seeds} | {f"analysis.{field}": value for field, value in plan.items()}
