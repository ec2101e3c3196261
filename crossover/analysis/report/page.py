"""The report as one HTML page: no script, no request to anywhere, light and dark, fit for print."""

from __future__ import annotations

from importlib import resources
from typing import Any

from crossover.analysis.report import palette, svg, tables, view, wording
from crossover.analysis.report.context import ReportContext

MAXIMUM_BYTES = 1_500_000
"""A page larger than this is built again with less detail, and says so."""


def render_html(context: ReportContext) -> str:
    """The report as one self-contained HTML page of at most about 1.5 MB.

    Args:
        context: what the report is made of. All its text is treated as untrusted and escaped.

    Returns:
        The page. Of a large study, axes other than the first may be left out; the page then says so.
    """
    page = ""
    for level, detail in enumerate(view.LEVELS):
        page = _page(context, detail, reduced=level > 0)
        if len(page.encode()) <= MAXIMUM_BYTES:
            break
    return page


def render_picture(context: ReportContext) -> str | None:
    """The headline's figure as an SVG file that follows light and dark mode; None when there are no points."""
    drawing = view.hero(context)
    return None if drawing is None else svg.standalone(drawing)


def _page(context: ReportContext, detail: view.Detail, *, reduced: bool) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("crossover.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawing"] = Markup
    values: dict[str, Any] = {
        "context": context,
        "cells": view.build(context, detail),
        "overview": tables.cells(context),
        "corpus": tables.corpus(context.corpus),
        "training": [(fact.label, fact.value) for fact in context.training],
        "notes": all_notes(context),
        "samples": [(wording.arm_label(arm), rows) for arm, rows in context.samples.items() if rows],
        "css": Markup(_css()),  # noqa: S704 - our own file and palette
        "reduced": reduced,
        "short": wording.short,
    }
    return environment.get_template("report.html").render(values)


def all_notes(context: ReportContext) -> tuple[str, ...]:
    """The report's notes and those of each analysis, each once."""
    said = [*context.notes, *(note for cell in context.cells for note in cell.analysis.notes)]
    return tuple(dict.fromkeys(said))


def _css() -> str:
    css = resources.files("crossover.analysis.report").joinpath("templates/report.css").read_text("utf-8")
    return (
        f":root {{ {palette.css_variables(0)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {palette.css_variables(1)} }} }}\n{css}"
    )
