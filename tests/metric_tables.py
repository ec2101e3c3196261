"""Writes docs/metrics.md from the catalogue of metrics: `python -m tests.metric_tables`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from crossover.metric_catalogue import METRICS, NUMBERED_METRICS, TASK_METRICS, Metric

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
HEAD = """# Metrics

All values that Crossover records. This page is generated from `crossover/metric_catalogue.py`: renew it with
`python -m tests.metric_tables`.

`better` is the direction in which a metric improves. `delta` is the default of the smallest difference that matters, in
the metric's unit: `analysis.metrics: [validation_bpb]` takes delta, label and unit from here; a metric without a delta
needs its own in the plan. Values by `likelihood` are exact for AR and an upper bound for a DLM; values by `chain rule`
are exact for one order of the tokens.
"""
TITLES = {
    "training": "Recorded while training",
    "evaluation": "Loss on held-out text",
    "writing": "Generated text",
    "task": "Tasks",
}


def page() -> str:
    """The text of docs/metrics.md."""
    numbered = [(f"{name}_<n>", metric) for name, metric in NUMBERED_METRICS.items()]
    tasks = [(f"<task>_{name}", metric) for name, metric in TASK_METRICS.items()]
    rows = [*METRICS.items(), *numbered, *tasks]
    parts = [
        _section(title, [row for row in rows if row[1].measured_in == measured_in])
        for measured_in, title in TITLES.items()
    ]
    return "\n".join((HEAD, *parts))


def _section(title: str, rows: Iterable[tuple[str, Metric]]) -> str:
    lines = [f"## {title}\n", "| metric | unit | better | by | delta | description |", "|---|---|---|---|---|---|"]
    for name, metric in rows:
        delta = "" if metric.delta is None else f"{metric.delta:g}"
        better, by = ("" if text == "none" else text for text in (metric.direction, metric.estimator))
        lines.append(f"| `{name}` | {metric.unit} | {better} | {by} | {delta} | {metric.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
