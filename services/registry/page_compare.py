"""Two studies side by side: their verdicts in one table, their curves in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossover_services.registry import page_figures, page_live, page_overview, page_words
from crossover_services.registry.page_addresses import study_address

from crossover.analysis.analysis_result import Analysis
from crossover.analysis.arm_labels import arm_label
from crossover.errors import RegistryError
from crossover.registry import Registry
from crossover.registry.reads.read_filters import Namespaces
from crossover.registry.reads.study_list import list_studies
from crossover.registry.reads.study_results import newest_analyses
from crossover.registry.reads.study_revisions import study_revisions
from crossover.report import answer, verdict_lines
from crossover.report import number_formats as fmt
from crossover.report.run_figures import Line

_CHOICES = 200


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    question: str
    address: str
    revision: str
    cells: tuple[tuple[str, Analysis], ...]

    @property
    def verdict(self) -> str:
        """The first cell's headline."""
        return "no analysis yet" if not self.cells else _statement(self.cells[0][1])


@dataclass(frozen=True)
class ComparePage:
    """All that the page shows."""

    a: str
    b: str
    choices: tuple[str, ...]
    sides: tuple[Side, ...]
    rows: tuple[tuple[str, str, str, bool | None], ...]
    """What is compared, the verdict of each side, and whether they agree; None where one has none."""
    figure: page_live.LiveFigure | None


def compare_page(registry: Registry, namespaces: Namespaces, a: str, b: str) -> ComparePage:
    """Gather the page that compares two studies.

    Args:
        registry: open.
        namespaces: to read.
        a: `namespace/name`, with `@` and the beginning of a digest for a revision; empty leaves the choice open.
        b: the other one.

    Raises:
        RegistryError: a study is not there.
    """
    offered = list_studies(registry, namespaces, sort="name", limit=_CHOICES).studies
    choices = tuple(f"{s.namespace}/{s.name}" for s in offered)
    sides = tuple(_side(registry, namespaces, text) for text in (a, b) if text) if a and b else ()
    rows = _rows(sides) if sides else ()
    return ComparePage(a, b, choices, sides, rows, _figure(sides) if sides else None)


def _side(registry: Registry, namespaces: Namespaces, text: str) -> Side:
    namespace, slash, rest = text.partition("/")
    name, at, revision = rest.rpartition("@")
    if not at:
        name, revision = rest, ""
    if not slash or not name:
        raise RegistryError(
            "registry.unknown-study", field="study", problem=f"{text!r} names no study", remedy="give namespace/name"
        )
    found = study_revisions(registry, namespaces, namespace, name, revision).chosen
    heads = newest_analyses(registry, namespaces, found.id)
    thin = ((c, t.analysis) for c, t in page_overview.analysed(registry, namespaces, heads).thin.items())
    return Side(
        name=text,
        question=page_words.question(found.config, name),
        address=study_address(namespace, name, revision=revision),
        revision=found.digest,
        cells=tuple((cell, analysis) for cell, analysis in thin if analysis is not None),
    )


def _statement(analysis: Analysis) -> str:
    return answer(analysis)


def _rows(sides: Sequence[Side]) -> tuple[tuple[str, str, str, bool | None], ...]:
    """Every verdict that either has; cells of the same name go together, else the first with the first."""
    tables = [_verdicts(side, alone=all(len(s.cells) == 1 for s in sides)) for side in sides]
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = []
    for key in keys:
        one, other = (table.get(key, ("–", "")) for table in tables)
        both = all(key in table for table in tables)
        rows.append((key, one[0], other[0], one[1] == other[1] if both else None))
    return tuple(rows)


def _verdicts(side: Side, *, alone: bool) -> dict[str, tuple[str, str]]:
    """What is compared, to the verdict in words and what must be the same for two to agree."""
    found = {}
    for cell, analysis in side.cells:
        for v in analysis.verdicts:
            metric = fmt.metric_plan(analysis.plan, v.metric).title
            key = f"{metric}, {fmt.comparison_words(v.comparison, v.axis)}, against {fmt.axis_word(v.axis)}"
            key += "" if v.baseline == analysis.plan.baseline else f", from {arm_label(v.baseline)}"
            text = verdict_lines.statement(analysis, v)
            interval = verdict_lines.interval(analysis, v)
            agrees = f"{v.outcome} {v.crossing.direction if v.crossing else ''}"
            found[key if alone else f"{cell}: {key}"] = (f"{text} ({interval})" if interval else text, agrees)
    return found


def _figure(sides: Sequence[Side]) -> page_live.LiveFigure | None:
    """The means of the first cells' headline figures, over each other."""
    if not all(side.cells for side in sides):
        return None
    first = sides[0].cells[0][1]
    head = first.headline
    lines = []
    for letter, side in zip("AB", sides, strict=True):
        figure = page_figures.find(side.cells[0][1], metric=head.metric, axis=head.axis, comparison=head.comparison)
        if figure is None or (figure.metric, figure.axis) != (head.metric, head.axis):
            return None
        lines += [
            Line(f"{letter} {arm_label(arm)}", band.x, band.mean, thick=True) for arm, band in figure.arms.items()
        ]
    metric = fmt.metric_plan(first.plan, head.metric)
    subtitle = f"means over seeds · {fmt.comparison_words(head.comparison, head.axis)}"
    caption = f"{metric.title} of both studies, {metric.direction} is better. A: {sides[0].name}; B: {sides[1].name}."
    wide, narrow = (
        page_live.drawn(lines, axis=head.axis, metric=metric, subtitle=subtitle, description=caption, small=small)
        for small in (False, True)
    )
    return page_live.LiveFigure(metric.title, wide, narrow, caption) if wide else None


def as_data(page: ComparePage) -> dict[str, Any]:
    """The JSON twin."""
    return {
        "a": page.a,
        "b": page.b,
        "studies": [
            {"name": s.name, "question": s.question, "revision": s.revision, "verdict": s.verdict, "address": s.address}
            for s in page.sides
        ],
        "verdicts": [{"of": what, "a": one, "b": other, "agree": same} for what, one, other, same in page.rows],
        "figure": page.figure and {"title": page.figure.title, "caption": page.figure.caption},
    }
