"""Write a report's files, each whole or not at all."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

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
        OSError: the folder cannot be written.
    """
    files = ReportFiles(html=folder / "report.html", markdown=folder / "report.md", json=folder / "report.json")
    texts = {
        files.html: render_html(context),
        files.markdown: render_markdown(context),
        files.json: context.model_dump_json(indent=2) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        _write(path, text)
    return files


def _write(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
