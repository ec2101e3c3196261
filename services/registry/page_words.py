"""What pages say: verdicts from their columns, statuses, times, plans. Plain text; the templates escape it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast, get_args

from pydantic import ValidationError

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis, Crossing, Verdict
from crossover.report import answer, verdict_lines
from crossover.report import number_formats as fmt

STATUS_WORDS = {
    "running": "running",
    "lost": "lost runs",
    "failed": "failed runs",
    "done": "done",
    "open": "not analysed yet",
    "planned": "planned",
    "interrupted": "interrupted",
    "waiting": "not started",
}


@dataclass(frozen=True)
class VerdictWords:
    """A verdict for people."""

    statement: str
    interval: str
    about: str
    """Metric, comparison, seed pairs."""
    tone: str
    reason: str


def plan_of(config: Mapping[str, Any]) -> AnalysisPlan:
    """The analysis plan of a study's fields; of a study from another version, its metrics alone, or none."""
    fields = config.get("analysis")
    try:
        return AnalysisPlan.model_validate(fields)
    except ValidationError:
        return AnalysisPlan(metrics=(MetricPlan(name="value", direction="lower", delta=1e-9),))


def headline_words(plan: AnalysisPlan, columns: Mapping[str, Any], beside: Sequence[Mapping[str, Any]]) -> VerdictWords:
    """The answer, from the columns of a headline and of the other verdicts on its metric and axis.

    What stands against a firm verdict is not among the columns: the page of the study says it.
    """
    words = verdict_words(plan, columns)
    if _verdict(columns) is None:
        return words
    verdicts = tuple(verdict for row in (columns, *beside) if (verdict := _verdict(row)) is not None)
    analysis = Analysis(method="", plan=plan, seeds=(), verdicts=verdicts, figures=(), summaries=(), notes=())
    return replace(words, statement=answer(analysis))


def verdict_words(plan: AnalysisPlan, columns: Mapping[str, Any]) -> VerdictWords:
    """A verdict from the columns of `v_verdicts`."""
    verdict = _verdict(columns)
    if verdict is None:
        outcome = str(columns.get("outcome", ""))
        return VerdictWords(outcome, "", str(columns.get("metric", "")), "open", str(columns.get("reason", "")))
    metric = fmt.metric_plan(plan, verdict.metric)
    crossing = verdict.crossing
    interval = ""
    if crossing is not None:
        interval = f"{fmt.percent(plan.alpha)} interval {fmt.axis_interval(verdict.axis, crossing.low, crossing.high)}"
    compared = fmt.comparison_words(verdict.comparison, verdict.axis)
    return VerdictWords(
        statement=verdict_lines.planned_statement(plan, verdict),
        interval=interval,
        about=f"{metric.title} · {compared} · {fmt.pairs(verdict.pairs)}",
        tone=tone(verdict.outcome),
        reason=verdict.reason,
    )


def tone(outcome: str) -> str:
    """The class of an outcome in the style sheet."""
    return outcome if outcome in ("baseline", "candidate", "crossover") else "open"


def _verdict(columns: Mapping[str, Any]) -> Verdict | None:
    at = columns.get("crossing_at")
    crossing = None
    try:
        if at is not None:
            crossing = Crossing(
                direction=columns["direction"],
                at=at,
                low=columns["crossing_low"],
                high=columns["crossing_high"],
                bracket=(at, at),
                per_seed=(),
            )
        copied = ("metric", "axis", "comparison", "baseline", "candidate", "outcome", "reason", "pairs", "p_adjusted")
        return Verdict(
            **{name: columns[name] for name in copied},
            p_crossover=None,
            early=None,
            late=None,
            crossing=crossing,
            further_pairs=None,
            sign_changes=0,
        )
    except (ValidationError, KeyError):
        return None


def planned_runs(config: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Cell, arm and seed of every run that a study asks for; empty where its fields do not say."""
    grid = config.get("grid")
    try:
        cells = [f"u{tokens}-{model}" for tokens in grid["unique_tokens"] for model in grid["models"]]  # type: ignore[index]  # what is no mapping is caught below
        return [(cell, arm, int(seed)) for cell in cells for arm in config["arms"] for seed in config["seeds"]]
    except (TypeError, KeyError, ValueError):
        return []


def question(config: Mapping[str, Any], name: str) -> str:
    """What a study asks, or its name."""
    return str(config.get("question") or "") or name


def time(at: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return "–" if at is None else at.strftime("%Y-%m-%d %H:%M UTC")


def flat(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested fields as rows of dotted name and value."""
    rows: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            rows.append((prefix + name, ", ".join(map(str, value)) or "–"))
        else:
            rows.append((prefix + name, "–" if value in (None, "") else str(value)))
    return rows


def compared(comparison: str, axis: str) -> str:
    """What is held equal, in words; unknown names as they are."""
    known = comparison in get_args(Comparison) and axis in get_args(Axis)
    return fmt.comparison_words(cast("Comparison", comparison), cast("Axis", axis)) if known else comparison
