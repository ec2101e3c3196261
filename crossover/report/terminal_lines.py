"""A report in short, for a terminal: the answer first, then the verdicts that it rests on."""

from __future__ import annotations

from crossover.analysis.analysis_plan import Comparison
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.arm_labels import arm_label
from crossover.report import evidence_words, verdict_lines
from crossover.report import number_formats as fmt
from crossover.report.answer import answer
from crossover.report.quality_lines import quality_lines
from crossover.report.report_data import ReportContext

HALF_NAMES: dict[Comparison, str] = {
    "matched": "Trained to the end",
    "best-so-far": "Stopped early",
    "frontier": "Best model size",
}


def headline(context: ReportContext) -> list[str]:
    """Lines for a terminal: what to choose, the verdict of each half, then each further metric; once per cell.

    Args:
        context: what the report is made of.

    Returns:
        Plain text lines without line ends.
    """
    lines: list[str] = []
    for cell in context.cells:
        prefix = f"[{cell.cell}] " if len(context.cells) > 1 else ""
        lines += [prefix + text for text in _cell_lines(cell.analysis)]
    for movement in context.overview.movements[:1]:
        lines += [
            f"MOVES: the log of the crossing by {s.estimate:+.2f} with {s.predictor}{fmt.tier(s.quality)}"
            for s in movement.slopes
        ]
    lines += [f"QUALITY: {sentence}" for sentence in quality_lines(context.overview)]
    return lines


def _cell_lines(analysis: Analysis) -> list[str]:
    head = analysis.headline
    lines = [f"ANSWER: {answer(analysis)}."]
    lines.append(f"{HALF_NAMES[head.comparison].upper()}: {verdict_lines.line(analysis, head)}")
    if seeds := evidence_words.seed_differences(analysis, head):
        lines.append(f"LATE DIFFERENCE BY SEED PAIR: {seeds}")
    best = verdict_lines.find(analysis, head.metric, head.axis, "best-so-far")
    if best is not None and best is not head:
        lines.append(f"{HALF_NAMES['best-so-far'].upper()}: {verdict_lines.line(analysis, best)}")
    tuned = verdict_lines.against_tuned(analysis, head)
    if tuned is not None:
        lines.append(f"AGAINST {arm_label(tuned.baseline).upper()}: {verdict_lines.line(analysis, tuned)}")
    for metric in analysis.plan.metrics:
        verdict = verdict_lines.find(analysis, metric.name, head.axis, head.comparison)
        if metric.name != head.metric and verdict is not None:
            lines.append(f"FURTHER METRIC: {verdict_lines.line(analysis, verdict)}")
    return lines
