"""Values that need no training, beside the values they let a reader judge: chance, unigram entropy, gzip."""

from __future__ import annotations

from crossover.report import number_formats as fmt
from crossover.report.report_data import Reference, ReportContext


def levels_of(context: ReportContext, metric: str) -> tuple[Reference, ...]:
    """The references of a metric, by its name."""
    return tuple(r for r in context.references if metric in r.metrics and r.level is not None)


def words(context: ReportContext, metric: str) -> str:
    """The same as text: `chance 0.250`, or `unigram 4.460, gzip 2.910`; empty where none is known."""
    return ", ".join(f"{r.name} {fmt.number(r.level)}" for r in levels_of(context, metric) if r.level is not None)
