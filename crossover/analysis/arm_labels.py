"""How arms and outcomes are named in text: the only place that knows the display names AR and DLM."""

from __future__ import annotations

from crossover.analysis.analysis_result import Crossing, Outcome, Turn

_FAMILIES = {"ar": "AR", "dlm": "DLM"}


def arm_label(arm: str) -> str:
    """The display name of an arm: `ar` is AR, `ar-dropout` AR dropout, `tuned-ar` tuned AR; others stay as they are."""
    head, _, tail = arm.partition("-")
    if head == "tuned" and tail:
        return f"tuned {arm_label(tail)}"
    return f"{_FAMILIES[head]} {tail.replace('-', ' ')}".strip() if head in _FAMILIES else arm


def outcome_label(outcome: Outcome, baseline: str, candidate: str) -> str:
    """An outcome with the name of the better arm: `AR is better`, `crossover`, `no difference that matters`."""
    if outcome in ("baseline", "candidate"):
        return f"{arm_label(baseline if outcome == 'baseline' else candidate)} is better"
    return "no difference that matters" if outcome == "equivalent" else outcome


def direction_label(crossing: Crossing | Turn, baseline: str, candidate: str) -> str:
    """The direction of a crossing with the arms' names: `AR→DLM`."""
    first, second = arm_label(baseline), arm_label(candidate)
    return f"{first}→{second}" if crossing.direction == "baseline→candidate" else f"{second}→{first}"
