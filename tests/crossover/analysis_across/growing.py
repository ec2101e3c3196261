"""Cells of a study in rounds: seed pairs with exact means and spreads in both windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from benchmarks.simulations.simulated_curves import CHECKPOINTS
from benchmarks.simulations.simulated_rounds import analysis_of
from crossover.analysis import AnalysisPlan, MetricPlan
from crossover.analysis.across.sequential_design import CellState
from crossover.analysis.curve_columns import FloatArray

LOSS = MetricPlan(name="loss", direction="lower", delta=0.02, exact=True)
PLAN = AnalysisPlan(metrics=(LOSS,), axes=("tokens",), comparisons=("matched",), looks=(5, 8, 12))
PLANNED = tuple(range(12))


def exact_pairs(early: float, late: float, sd: float, pairs: int = 5, *, straight: bool = True) -> FloatArray:
    """Differences of seed pairs with this mean and sd in both windows, straight in log x or flat in each."""
    u_G = np.linspace(0.0, 1.0, CHECKPOINTS)
    u_W = np.array([u_G[u_G <= 0.4].mean(), u_G[u_G >= 0.85].mean()])
    normal_S = special.ndtri((np.arange(pairs) + 0.5) / pairs)
    normal_S = sd * (normal_S - normal_S.mean()) / normal_S.std(ddof=1)
    early_S, late_S = early + normal_S, late + np.roll(normal_S, 2)
    if not straight:
        flat_SG: FloatArray = np.where(u_G < 0.6, early_S[:, None], late_S[:, None])
        return flat_SG
    pairs_SG: FloatArray = early_S[:, None] + (late_S - early_S)[:, None] * (u_G - u_W[0]) / (u_W[1] - u_W[0])
    return pairs_SG


def state(
    name: str,
    difference_SG: FloatArray | None = None,
    *,
    plan: AnalysisPlan = PLAN,
    planned: Sequence[int] = PLANNED,
    cost: float = 1.0,
    done: Mapping[str, Sequence[int]] | None = None,
    arms: Sequence[str] = ("ar", "dlm"),
) -> CellState:
    """A cell with these pairs; nothing has run where there are none."""
    seeds = tuple(range(0 if difference_SG is None else len(difference_SG)))
    return CellState(
        cell=name,
        analysis=None if difference_SG is None else analysis_of(difference_SG, plan),
        seeds_done=dict.fromkeys(arms, seeds) if done is None else done,
        seeds_planned=planned,
        cost_per_run=dict.fromkeys(arms, cost),
    )
