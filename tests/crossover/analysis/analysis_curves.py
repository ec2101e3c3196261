"""Tables of curves for tests: every row spelled out by a function of arm, seed and checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan

TOKENS = tuple(int(t) for t in np.round(np.geomspace(1e4, 1e6, 17)))
LOSS = MetricPlan(name="loss", direction="lower", delta=0.02, unit="nats/token", label="Validation loss", exact=True)
PLAN = AnalysisPlan(metrics=(LOSS,), axes=("tokens",), comparisons=("matched",))
Table = dict[str, list[Any]]
ValueAt = Callable[[str, int, float], float]


def table(
    value: ValueAt,
    *,
    seeds: Sequence[int] = range(5),
    arms: Sequence[str] = ("ar", "dlm"),
    tokens: Sequence[int] = TOKENS,
    metric: str = "loss",
    stderr: float = float("nan"),
) -> Table:
    """Rows of every arm and seed; u is the checkpoint's share of the log range of TOKENS."""
    rows = [(arm, seed, t) for arm in arms for seed in seeds for t in tokens]
    share = [float(np.log(t / TOKENS[0]) / np.log(TOKENS[-1] / TOKENS[0])) for _, _, t in rows]
    return {
        "arm": [arm for arm, _, _ in rows],
        "seed": [seed for _, seed, _ in rows],
        "tokens": [t for _, _, t in rows],
        "flops": [6e6 * t for _, _, t in rows],
        "seconds": [t / 1e4 * (1.0 if arm == "ar" else 1.25) for arm, _, t in rows],
        "metric": [metric] * len(rows),
        "value": [value(arm, seed, u) for (arm, seed, _), u in zip(rows, share, strict=True)],
        "stderr": [stderr] * len(rows),
    }


def crossing_value(arm: str, seed: int, u: float) -> float:
    """Every seed crosses at u = 0.5 exactly, at its own slope; no two runs are equal."""
    return 3 - u + 0.01 * seed + (0.2 + 0.02 * seed) * (0.5 - u) * (arm == "dlm")


def noisy(difference: Callable[[float], float], *, sd: float = 0.01, seed: int = 0) -> ValueAt:
    """A difference of the arms plus white noise that depends on arm, seed and place only."""

    def value(arm: str, run_seed: int, u: float) -> float:
        rng = np.random.default_rng([seed, run_seed, int(arm == "dlm"), round(u * 1e6)])
        return 3 - u + sd * float(rng.normal()) + difference(u) * (arm == "dlm")

    return value


def joined(*tables: Table) -> Table:
    """One table below the other."""
    return {name: [v for t in tables for v in t[name]] for name in tables[0]}


def only(curves: Table, keep: Callable[[dict[str, Any]], bool]) -> Table:
    """Rows that a predicate keeps."""
    rows = [dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)]
    return {name: [row[name] for row in rows if keep(row)] for name in curves}
