"""The report as one HTML page: no external requests, light and dark, printable, complete without its script."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

from crossover.analysis.arm_labels import arm_label
from crossover.report import (
    number_formats as fmt,
)
from crossover.report import (
    overview_tables,
    overview_view,
    page_design,
    page_trimming,
    report_tables,
    report_view,
    svg_rendering,
)
from crossover.report.method_limits import method_limits
from crossover.report.report_data import ReportContext

MAXIMUM_BYTES = 1_500_000
"""A page larger than this shows less, and says so."""


def render_html(context: ReportContext) -> str:
    """The report as one self-contained HTML page of at most about 1.5 MB.

    Args:
        context: what the report is made of. All its text is treated as untrusted and escaped.

    Returns:
        The page. Of a large study, axes other than the first may be left out; the page then says so.
    """
    cells, study = report_view.build(context), overview_view.build(context)
    page = ""
    for level, detail in enumerate(page_trimming.LEVELS):
        shown = tuple(page_trimming.trim(cell, detail) for cell in cells)
        frontiers = tuple(replace(f, cell=page_trimming.trim(f.cell, detail)) for f in study.frontiers)
        page = _page(context, shown, replace(study, frontiers=frontiers), reduced=level > 0)
        if len(page.encode()) <= MAXIMUM_BYTES:
            break
    return page


def render_picture(context: ReportContext) -> str | None:
    """The headline's figure as an SVG file that follows light and dark mode; None when there are no points."""
    drawing = report_view.hero(context)
    return None if drawing is None else svg_rendering.standalone(drawing)


def _page(
    context: ReportContext, cells: tuple[report_view.CellView, ...], study: overview_view.StudyView, *, reduced: bool
) -> str:
    from markupsafe import Markup

    script = page_design.script()
    values: dict[str, Any] = {
        "context": context,
        "baseline": arm_label(context.cells[0].analysis.plan.baseline),
        "candidate": arm_label(context.cells[0].analysis.plan.candidate),
        "cells": cells,
        "study": study,
        "health": overview_tables.health(context),
        "lineage": _lineage(context),
        "script": Markup(script),  # noqa: S704 - our own file
        "script_hash": f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        "plan": report_tables.plan_facts(context.cells),
        "overview": report_tables.cells(context),
        "references": report_tables.references(context),
        "corpus": report_tables.corpus(context.corpus),
        "training": [(fact.label, fact.value) for fact in context.training],
        "limits": method_limits(context),
        "notes": all_notes(context),
        "samples": [(arm_label(arm), rows) for arm, rows in context.samples.items() if rows],
        "css": Markup(page_design.css()),  # noqa: S704 - our own file and palette
        "reduced": reduced,
        "short": fmt.short,
    }
    return page_design.environment().get_template("report.html").render(values)


def all_notes(context: ReportContext) -> tuple[str, ...]:
    """The report's notes and those of each analysis, each once; one that is not of all cells names those it is of."""
    cells: dict[str, list[str]] = {}
    for cell in context.cells:
        for note in dict.fromkeys(cell.analysis.notes):
            cells.setdefault(note, []).append(cell.cell)
    named = (note if len(of) == len(context.cells) else f"{', '.join(of)}: {note}" for note, of in cells.items())
    return tuple(dict.fromkeys((*context.notes, *named)))


def _lineage(context: ReportContext) -> list[tuple[str, str, str]]:
    """From the data to the verdict: what, its digest or key, and where the page says more."""
    runs = [run for cell in context.cells for run in cell.runs]
    kept = [run.checkpoint_digest for run in runs if run.checkpoint_digest]
    steps = []
    if context.corpus is not None:
        steps.append(("Corpus", fmt.short(context.corpus.digest), "corpus"))
    steps.append(("Study and plan", fmt.short(context.study_digest), "how"))
    if runs:
        several = f"{runs[0].run_key} and {len(runs) - 1} more" if len(runs) > 1 else runs[0].run_key
        steps.append(("Runs", several, "c0-runs"))
    if kept:
        steps.append(("Checkpoints", f"{fmt.short(kept[0])} and {len(kept) - 1} more", "c0-runs"))
    steps.append(("Verdict", context.cells[0].analysis.method, "c0-verdict"))
    return steps
