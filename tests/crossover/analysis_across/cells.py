"""Cells with a planted crossing, analysed as a study's would be."""

from __future__ import annotations

from functools import cache

import numpy as np

from crossover.analysis import Analysis, AnalysisPlan, MetricPlan, analyse
from crossover.analysis.across.cross_cell_result import CellFacts
from crossover.analysis.across.crossing_regression import AnalysedCell

LOSS = MetricPlan(name="loss", direction="lower", delta=0.02, unit="nats/token", label="Validation loss", exact=True)
PLAN = AnalysisPlan(metrics=(LOSS,), axes=("epochs", "flops"), comparisons=("matched", "best-so-far"))
EPOCHS = np.geomspace(1, 100, 17)


def cell(unique_tokens: int, parameters: int, crossing: float, *, sd: float = 0.01, pairs: int = 5) -> AnalysedCell:
    """A cell whose loss differs by 0.15 · log10(crossing / epoch): the DLM is better from the crossing on."""
    facts = CellFacts(cell=f"u{unique_tokens}-n{parameters}", unique_tokens=unique_tokens, parameters=parameters)
    return facts, _analysed(unique_tokens, parameters, crossing, sd, pairs)


@cache
def _analysed(unique_tokens: int, parameters: int, crossing: float, sd: float, pairs: int) -> Analysis:
    return analyse(columns(unique_tokens, parameters, crossing, sd, pairs), PLAN, unique_tokens=unique_tokens)


def columns(
    unique_tokens: int, parameters: int, crossing: float, sd: float = 0.01, pairs: int = 5
) -> dict[str, list[object]]:
    """The cell's curves as a table."""
    rng = np.random.default_rng([unique_tokens, parameters])
    tokens = np.round(EPOCHS * unique_tokens)
    table: dict[str, list[object]] = {name: [] for name in ("arm", "seed", "tokens", "flops", "metric", "value")}
    for arm in ("ar", "dlm"):
        for seed in range(pairs):
            difference = 0.15 * np.log10(crossing / EPOCHS) * (arm == "dlm")
            values = 3 - 0.2 * np.log10(EPOCHS) + difference + sd * rng.normal(size=EPOCHS.size)
            rows = {"tokens": tokens, "flops": 6.0 * parameters * tokens, "value": values}
            for name, column in rows.items():
                table[name] += column.tolist()
            for name, value in (("arm", arm), ("seed", seed), ("metric", "loss")):
                table[name] += [value] * EPOCHS.size
    return table
