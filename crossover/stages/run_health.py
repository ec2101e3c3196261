"""How each run went, from what it recorded while it trained: speed, spikes, restarts, points that are not numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossover.report.report_data import RunHealth
from crossover.stages.study_context import StudyContext

_METRICS = ("training_loss", "gradient_norm", "tokens_per_second", "mfu", "clipped_steps")
_NEIGHBOURS = 3
_SPIKE = 6.0
"""A training loss this many robust standard deviations above its neighbours is a spike."""
_NORMAL = 1.4826
Runs = dict[tuple[str, int], RunHealth]


def health_of(context: StudyContext, cell: str) -> Runs:
    """Arm and seed to the run's health; a run that the registry does not hold is left out."""
    curves = context.registry.curves(context.study.digest, cell, _METRICS)
    values: dict[tuple[str, int, str], list[float]] = {}
    for arm, seed, metric, value in zip(*(curves[n] for n in ("arm", "seed", "metric", "value")), strict=True):
        values.setdefault((arm, seed, metric), []).append(value)
    return {
        (run.arm, run.seed): _health(attempts, [values.get((run.arm, run.seed, metric), []) for metric in _METRICS])
        for run, attempts in context.registry.attempts(context.study.digest, cell)
    }


def _health(attempts: int, columns: Sequence[Sequence[float]]) -> RunHealth:
    loss, norm, speed, mfu, clipped = (np.asarray(column, dtype=np.float64) for column in columns)
    middle = _median(norm)
    return RunHealth(
        attempts=attempts,
        tokens_per_second=_median(speed),
        mfu=_median(mfu),
        gradient_norm=middle,
        largest_gradient_norm=float(np.nanmax(norm)) if middle is not None else None,
        clipped_steps=float(clipped[-1]) if clipped.size else None,
        loss_spikes=loss_spikes(loss),
        not_finite=int((~np.isfinite(loss)).sum()),
    )


def _median(values: NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def loss_spikes(loss_P: NDArray[np.float64]) -> int:
    """How many points stand out above the median of their neighbours, three on either side."""
    finite_P = loss_P[np.isfinite(loss_P)]
    if finite_P.size < 2 * _NEIGHBOURS + 1:
        return 0
    padded = np.pad(finite_P, _NEIGHBOURS, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEIGHBOURS + 1)
    around_P = np.median(np.delete(windows, _NEIGHBOURS, axis=1), axis=1)
    beyond_P = finite_P - around_P
    scale = _NORMAL * float(np.median(np.abs(beyond_P)))
    return int((beyond_P > _SPIKE * scale).sum()) if scale > 0 else 0
