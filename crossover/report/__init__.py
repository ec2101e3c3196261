"""The report of a study: one HTML page, Markdown, JSON, and lines for the terminal.

Altair, vl-convert and Jinja are imported when a page is rendered, not before.
"""

from crossover.report.advice_lines import because, choice_sentence
from crossover.report.answer import answer
from crossover.report.report_data import CellReport, CorpusFacts, Fact, ReportContext, RunRow, Sample
from crossover.report.report_files import ReportFiles, write_report
from crossover.report.report_markdown import render_markdown
from crossover.report.report_page import render_html, render_picture
from crossover.report.serving_lines import serving_lines
from crossover.report.terminal_lines import headline
from crossover.report.verdict_lines import line as verdict_line

__all__ = [
    "CellReport",
    "CorpusFacts",
    "Fact",
    "ReportContext",
    "ReportFiles",
    "RunRow",
    "Sample",
    "answer",
    "because",
    "choice_sentence",
    "headline",
    "render_html",
    "render_markdown",
    "render_picture",
    "serving_lines",
    "verdict_line",
    "write_report",
]
