"""The report of a study: one HTML page, Markdown, JSON, and lines for the terminal.

Altair, vl-convert and Jinja are imported when a page is rendered, not before.
"""

from crossover.analysis.report.context import CellReport, CorpusFacts, Fact, ReportContext, RunRow, Sample
from crossover.analysis.report.markdown import render_markdown
from crossover.analysis.report.page import render_html, render_picture
from crossover.analysis.report.verdicts import headline
from crossover.analysis.report.verdicts import line as verdict_line
from crossover.analysis.report.writer import ReportFiles, write_report

__all__ = [
    "CellReport",
    "CorpusFacts",
    "Fact",
    "ReportContext",
    "ReportFiles",
    "RunRow",
    "Sample",
    "headline",
    "render_html",
    "render_markdown",
    "render_picture",
    "verdict_line",
    "write_report",
]
