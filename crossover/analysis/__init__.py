"""Tests whether the curves of two arms cross, and where: curves in, verdicts out; no torch, no I/O.

The heavy part (scipy) is imported on first use, so that naming a plan costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossover.analysis.analyse_cell import analyse as analyse
    from crossover.analysis.analysis_plan import AnalysisPlan as AnalysisPlan
    from crossover.analysis.analysis_plan import MetricPlan as MetricPlan
    from crossover.analysis.analysis_result import Analysis as Analysis

_HOMES = {
    "analyse": "crossover.analysis.analyse_cell",
    "Analysis": "crossover.analysis.analysis_result",
    "AnalysisPlan": "crossover.analysis.analysis_plan",
    "MetricPlan": "crossover.analysis.analysis_plan",
}

__all__ = ["Analysis", "AnalysisPlan", "MetricPlan", "analyse"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the protocol of module attributes
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
