"""The report in short, as Markdown: what a pipeline's page shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from crossover.analysis.arm_labels import arm_label
from crossover.report import advice_lines, evidence_words, overview_tables, report_tables, verdict_lines
from crossover.report.answer import answer
from crossover.report.method_limits import method_limits
from crossover.report.overview_view import frontier_title
from crossover.report.quality_lines import quality_lines
from crossover.report.report_data import ReportContext
from crossover.report.report_page import all_notes
from crossover.report.serving_lines import serving_lines
from crossover.report.terminal_lines import HALF_NAMES

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_SPACE = re.compile(r"\s+")
_SAMPLE_CHARACTERS = 800


def render_markdown(context: ReportContext) -> str:
    """The report as Markdown: verdicts, summary, samples, how it was done.

    Args:
        context: what the report is made of. All its text is escaped: no markup of it survives.
    """
    lines = [f"# {_text(context.question)}", "", f"Study **{_text(context.study)}**, {_text(context.created_at)}", ""]
    if len(context.cells) > 1:
        lines += [*_table(report_tables.cells(context)), ""]
    for advice in advice_lines.advice(context).rows:
        *said, cheapest = advice
        facts, choose, because = map(_text, said)
        lines += [f"- {facts}: **{choose}** {because} What could change this, cheapest first: {_with_code(cheapest)}"]
    lines += [f"- {_text(sentence)}" for sentence in serving_lines(context.serving)]
    lines += [""] * bool(context.overview.advice or context.serving)
    for cell in context.cells:
        analysis = cell.analysis
        head = analysis.headline
        lines += [f"## {_text(cell.cell)}: {_text(answer(analysis))}", ""]
        lines += [f"{HALF_NAMES[head.comparison]}: **{_text(verdict_lines.line(analysis, head))}**", ""]
        lines += [_text(head.reason), ""]
        if seeds := evidence_words.seed_differences(analysis, head):
            lines += [f"Late difference of each seed pair: {_text(seeds)}", ""]
        best = verdict_lines.find(analysis, head.metric, head.axis, "best-so-far")
        if best is not None and best is not head:
            lines += [f"{HALF_NAMES['best-so-far']}: {_text(verdict_lines.line(analysis, best))}", ""]
        changes = verdict_lines.what_would_change_it(cell)
        if changes:
            lines += ["What changes the answer, and what does not:", "", *(f"- {_text(text)}" for text in changes), ""]
        for table in (
            report_tables.all_verdicts(analysis),
            report_tables.summary(context, analysis),
            report_tables.references(context),
            overview_tables.items(context, analysis),
        ):
            lines += [*_table(table), ""] if table.rows else []
    lines += [*_across(context), *_samples(context), *_how(context)]
    return "\n".join(lines).rstrip() + "\n"


def _across(context: ReportContext) -> Iterable[str]:
    """What the cells and arms say together."""
    overview, plan = context.overview, context.cells[0].analysis.plan
    for frontier in overview.frontiers:
        head = frontier.analysis.headline
        yield f"**{frontier_title(frontier.unique_tokens, frontier.quality)}:** {_text(head.reason)}"
        yield ""
    if overview.movements:
        yield from ("## How the crossing moves", "", _text(overview.movements[0].reason), "")
    for sentence in quality_lines(overview):
        yield from (_text(sentence), "")
    tables = [
        *(overview_tables.movement_cells(movement, plan) for movement in overview.movements[:1]),
        overview_tables.slopes(overview.movements, plan),
        overview_tables.factors(overview.factors, plan),
        overview_tables.laws(overview.laws, plan.alpha),
        overview_tables.next_runs(overview.next_runs),
    ]
    for table in tables:
        yield from [*_table(table), ""] if table.rows else []


def _samples(context: ReportContext) -> Iterable[str]:
    for arm, rows in context.samples.items():
        for sample in rows:
            yield f"> **{_text(arm_label(arm))}** {_text(sample.prompt, _SAMPLE_CHARACTERS)} … "
            yield f"> {_text(sample.completion, _SAMPLE_CHARACTERS)}"
            yield ""


def _how(context: ReportContext) -> Iterable[str]:
    yield "## How it was done"
    yield ""
    yield (
        "At matched tokens both arms of a seed pair have seen the same tokens in the same order. DLM likelihoods are "
        "NELBO, an upper bound on the loss; AR likelihoods are exact."
        if context.measured_here
        else "The curves were given: what their values are, and whether pairs share data, is unknown."
    )
    yield ""
    yield from ("What curves cannot show:", "", *(f"- {_text(sentence)}" for sentence in method_limits(context)), "")
    facts = [*report_tables.corpus(context.corpus), *((f.label, f.value) for f in context.training)]
    plan = context.cells[0].analysis.plan
    facts += [
        ("Early and late window", f"{plan.early_window} and {plan.late_window} of the axis' log range"),
        ("α, seed pairs needed", f"{plan.alpha:g}, {plan.minimum_pairs}"),
        ("Study digest", context.study_digest),
        ("Crossover", context.version),
    ]
    yield from _rows(("Fact", "Value"), facts)
    for table in (overview_tables.health(context), *map(report_tables.runs, context.cells)):
        if table.rows:
            yield ""
            yield from _table(table)
    if context.sql:
        yield from ("", "To look further:", "", *(f"    {line}" for line in context.sql.splitlines()))
    notes = all_notes(context)
    if notes:
        yield from ("", "Notes:", "", *(f"- {_text(note)}" for note in notes))


def _table(table: report_tables.Table) -> list[str]:
    return [f"**{_text(table.caption)}**", "", *_rows(table.head, table.rows, left=table.figures_from)]


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 99) -> list[str]:
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    return [
        "| " + " | ".join(cells) + " |"
        for cells in ([_text(t) for t in head], rule, *([_text(t) for t in r] for r in rows))
    ]


def _with_code(text: str) -> str:
    """The same, in which what stands between backticks is code."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(_SPACE.sub(" ", part) if i % 2 else _escaped(_SPACE.sub(" ", part)) for i, part in enumerate(parts))


def _text(text: str, most: int | None = None) -> str:
    """One line of plain text that Markdown and HTML leave alone."""
    flat = _SPACE.sub(" ", text).strip()
    if most is not None and len(flat) > most:
        flat = flat[:most] + "…"
    return _escaped(flat)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")
