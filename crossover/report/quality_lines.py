"""How quality moves the crossing, as sentences: the same on the page, in Markdown and in a terminal."""

from __future__ import annotations

from crossover.analysis.across.cross_cell_result import CellCrossing, Overview, QualityShift
from crossover.report import number_formats as fmt


def quality_lines(overview: Overview) -> tuple[str, ...]:
    """What is found, and what else to know, for each budget and model that were run with several tiers of quality."""
    return tuple(f"{_sentence(shift)} {shift.note}".rstrip() for shift in overview.quality)


def _sentence(shift: QualityShift) -> str:
    facts = shift.higher.facts
    where = f"with {fmt.count(facts.unique_tokens)} unique tokens and {fmt.count(facts.parameters)} parameters"
    if shift.reason:
        return f"Whether quality moves the crossing {where} is not known: {shift.reason}."
    lower = shift.lower.facts.quality
    places = f"{_place(shift, shift.higher)} in {facts.quality}, {_place(shift, shift.lower)} in {lower}"
    places += f"; {_evidence(shift)}"
    if not shift.moves:
        return f"No evidence that quality moves the crossing {where}: {places}."
    return f"Quality moves the crossing {where}, which is {shift.moves} in {facts.quality} quality: {places}."


def _place(shift: QualityShift, found: CellCrossing) -> str:
    if found.at is not None:
        return f"{fmt.axis_place(shift.axis, found.at)} ({fmt.axis_interval(shift.axis, found.low, found.high)})"
    if found.beyond is not None:
        return f"beyond {fmt.axis_place(shift.axis, found.beyond)}, if at all,"
    return f"before {fmt.axis_place(shift.axis, found.before or 0.0)}, if at all,"


def _evidence(shift: QualityShift) -> str:
    if shift.ratio is None or shift.interval is None or shift.alpha is None:
        return "the intervals do not overlap" if shift.moves else "the intervals overlap"
    low, high = shift.interval
    level = f"{fmt.percent(shift.alpha)} interval over {fmt.pairs(shift.pairs)}"
    return f"the ratio of the two is {shift.ratio:.3g} ({low:.3g} – {high:.3g}, {level})"
