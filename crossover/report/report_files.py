"""Write the files of a report, each atomically."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossover.files import write_text
from crossover.report.report_data import ReportContext
from crossover.report.report_markdown import render_markdown
from crossover.report.report_page import render_html


@dataclass(frozen=True)
class ReportFiles:
    """Where a report's files are."""

    html: Path
    markdown: Path
    json: Path


def write_report(context: ReportContext, folder: Path) -> ReportFiles:
    """Write report.html, report.md and report.json into a folder, which is made if it is missing.

    Everything is rendered before the first file is touched; each file then replaces its predecessor atomically.

    Args:
        context: what the report is made of.
        folder: where the files go.

    Returns:
        The paths of the three files.

    Raises:
        WorkspaceError: the folder cannot be written, or the disk is full.
    """
    files = ReportFiles(html=folder / "report.html", markdown=folder / "report.md", json=folder / "report.json")
    texts = {
        files.html: render_html(context),
        files.markdown: render_markdown(context),
        files.json: context.model_dump_json(indent=2) + "\n",
    }
    for path, text in texts.items():
        write_text(path, text)
    return files
