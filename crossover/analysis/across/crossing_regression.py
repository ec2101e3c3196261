"""How the crossing moves with unique tokens, model size and sparsity, and where a further cell would cross.

Cells of different tiers of quality are never in one fit: nothing says that their slopes are the same.

A regression of the log crossing on the logs of what a cell is, over cells: each crossing has a standard error of its
own (from its interval), cells scatter beyond that (tau), and cells without one are censored: they say on which side of
a window's inner edge the crossing lies, since one inside a window shows in its mean only. Random-effects
meta-regression with REML where nothing is censored (Viechtbauer 2005), its intervals after Knapp & Hartung (2003) with
Student t, since cells are few; censored cells enter the likelihood as in Tobin (1958).

Shapes: C cells, P coefficients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from crossover.analysis.across.cross_cell_result import CellCrossing, CellFacts, Forecast, Movement, Slope
from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis, Verdict
from crossover.analysis.arm_labels import arm_label
from crossover.analysis.curve_columns import FloatArray

AnalysedCell = tuple[CellFacts, Analysis]
_LEAST_DEGREES = 1
_LARGEST_SPREAD = 5.0
_LEAST_LOG_SPREAD = -7.0
_LARGEST_LOG = 700.0
_INSUFFICIENT = "evidence is insufficient"
_SAME = "is without a difference that matters late"
_CHANGES = "the difference changes its sign"
_STEPS = 30
_STILL = 1e-9


def fit_movements(cells: Sequence[AnalysedCell], *, forecasts: Sequence[CellFacts] = ()) -> tuple[Movement, ...]:
    """Fit the movement of every metric, axis and comparison of the plan.

    Args:
        cells: the facts of each cell and its analysis; all of one plan.
        forecasts: cells to predict.

    Returns:
        A movement for each; where too few cells cross it has no slopes and says how many are needed.
    """
    if len(cells) < 2:
        return ()
    plan = cells[0][1].plan
    return tuple(
        fit_movement(cells, metric, axis, comparison, forecasts=forecasts)
        for metric in plan.metrics
        for comparison in plan.comparisons
        if comparison != "frontier"
        for axis in plan.axes
    )


def fit_movement(
    cells: Sequence[AnalysedCell],
    metric: MetricPlan,
    axis: Axis,
    comparison: Comparison,
    *,
    forecasts: Sequence[CellFacts] = (),
) -> Movement:
    """Fit one movement, each tier of quality by itself; see `fit_movements`."""
    tiers = {facts.quality: None for facts, _ in cells}
    fits = [
        _fit_tier(
            [cell for cell in cells if cell[0].quality == tier],
            metric,
            axis,
            comparison,
            [facts for facts in forecasts if facts.quality == tier],
        )
        for tier in tiers
    ]
    if len(fits) == 1:
        return fits[0]
    spreads = [fit.spread for fit in fits if fit.spread is not None]
    return fits[0].model_copy(
        update={
            "cells": tuple(cell for fit in fits for cell in fit.cells),
            "slopes": tuple(slope for fit in fits for slope in fit.slopes),
            "spread": max(spreads, default=None),
            "forecasts": tuple(forecast for fit in fits for forecast in fit.forecasts),
            "reason": " ".join(f"Quality {tier}: {fit.reason}" for tier, fit in zip(tiers, fits, strict=True)),
        }
    )


def _fit_tier(
    cells: Sequence[AnalysedCell],
    metric: MetricPlan,
    axis: Axis,
    comparison: Comparison,
    forecasts: Sequence[CellFacts],
) -> Movement:
    plan = cells[0][1].plan
    crossings = [cell_crossing(facts, _verdict(analysis, metric, axis, comparison), plan) for facts, analysis in cells]
    used = [c for c in crossings if c.at is not None or c.beyond is not None or c.before is not None]
    design = _design(used)
    crossed = sum(c.at is not None for c in used)
    tail = _left_out(crossings)
    bare = Movement(
        metric=metric.name, axis=axis, comparison=comparison, cells=tuple(crossings), slopes=(), spread=None, reason=""
    )
    if not design.names:
        needed = 3 if _varies(used) else 0
        problem = (
            f"{crossed} of {len(crossings)} cells cross, and a slope needs {needed} that differ"
            if needed
            else "the cells that can be used do not differ in tokens, size or sparsity"
        )
        return bare.model_copy(update={"reason": f"Nothing was fitted: {problem}{tail}."})
    fit = _fit(design, plan.alpha)
    forecast = [fit.forecast(facts) for facts in forecasts if design.knows(facts)]
    censored = len(used) - crossed
    words = f"Fitted to {crossed} crossings"
    words += f" and {censored} cells of which only the side is known on which they cross, if at all" * bool(censored)
    dropped = f"; too few cells for {', '.join(design.dropped)}" * bool(design.dropped)
    freedom = f"{fit.degrees} degree{'s' * (fit.degrees > 1)} of freedom"
    return bare.model_copy(
        update={
            "slopes": tuple(fit.slopes()),
            "spread": fit.spread,
            "forecasts": tuple(forecast),
            "reason": f"{words}, {', '.join(design.names)}; {freedom}{dropped}{tail}.",
        }
    )


def _verdict(analysis: Analysis, metric: MetricPlan, axis: Axis, comparison: Comparison) -> Verdict:
    wanted = (metric.name, axis, comparison, analysis.plan.baseline)
    return next(v for v in analysis.verdicts if (v.metric, v.axis, v.comparison, v.baseline) == wanted)


def _left_out(crossings: Sequence[CellCrossing]) -> str:
    """Which cells tell nothing, each with the reason, as the end of a sentence; empty where all tell something."""
    reasons = Counter(c.left_out for c in crossings if c.left_out)
    parts = []
    for reason, count in reasons.items():
        whose = {_INSUFFICIENT: "its " if count == 1 else "their ", _CHANGES: "in it " if count == 1 else "in them "}
        subject = next((w for start, w in whose.items() if reason.startswith(start)), "it " if count == 1 else "they ")
        clause = reason if count == 1 or subject != "they " else reason.replace("crosses", "cross", 1)
        parts.append(f"{count} of {len(crossings)} cells {'is' if count == 1 else 'are'} left out: {subject}{clause}")
    return "".join(f"; {part}" for part in parts)


def cell_crossing(facts: CellFacts, verdict: Verdict, plan: AnalysisPlan) -> CellCrossing:
    """The crossing of a cell, or the side of a window's edge on which it lies, or why it tells neither."""
    crossing, early, late = verdict.crossing, verdict.early, verdict.late
    found: dict[str, float | str | None] = {"at": None, "low": None, "high": None}
    if crossing is not None and crossing.direction == "baseline→candidate":
        ends = (crossing.low, crossing.high)
        found = {"at": crossing.at, "low": ends[0], "high": ends[1]}
        found["stderr"] = _stderr(crossing.at, ends, verdict.pairs, plan.alpha)
    elif crossing is not None:
        candidate, baseline = arm_label(plan.candidate), arm_label(verdict.baseline)
        found["left_out"] = f"crosses from {candidate} to {baseline}, the other way"
    elif verdict.outcome in ("baseline", "candidate") and verdict.sign_changes > 1:
        found["left_out"] = f"{_CHANGES} {verdict.sign_changes} times"
    elif early is None or late is None:
        found["left_out"] = _INSUFFICIENT
    elif verdict.outcome == "baseline" or (_near_the_end(verdict) and early.p_baseline_better <= verdict.alpha / 2):
        found["beyond"] = late.low
    elif verdict.outcome == "candidate":
        found["before"] = early.high if early.p_candidate_better <= verdict.alpha / 2 else late.high
    else:
        found["left_out"] = _SAME if verdict.outcome == "equivalent" else _INSUFFICIENT
    return CellCrossing.model_validate({"facts": facts, "outcome": verdict.outcome} | found)


def _near_the_end(verdict: Verdict) -> bool:
    return verdict.outcome == "insufficient evidence" and verdict.obstacle.startswith("crossing near the end")


def _stderr(at: float, ends: tuple[float | None, float | None], pairs: int, alpha: float) -> float | None:
    """Of the log crossing, from its interval or the half of it that is bounded; None where neither end is."""
    t = float(special.stdtrit(pairs - 1, 1 - alpha / 2))
    halves = [abs(float(np.log(end / at))) for end in ends if end is not None]
    return float(np.mean(halves)) / t if halves else None


@dataclass(frozen=True)
class RegressionData:
    """The regression's data: y_C is the log of the crossing, or of the place beyond or before which it lies."""

    cells: tuple[CellCrossing, ...]
    names: tuple[str, ...]
    dropped: tuple[str, ...]
    x_CP: FloatArray
    y_C: FloatArray
    error_C: FloatArray
    side_C: NDArray[np.int64]
    """0: crosses there; 1: crosses beyond, if at all; -1: before."""

    def knows(self, facts: CellFacts) -> bool:
        """Whether a cell differs from those fitted in nothing but the predictors in use."""
        first = self.cells[0].facts
        parts = {
            "log unique tokens": (facts.unique_tokens, first.unique_tokens),
            "log parameters": (facts.parameters, first.parameters),
            "sparse": (facts.sparse, first.sparse),
        }
        return all(a == b or name in self.names for name, (a, b) in parts.items())

    def row(self, facts: CellFacts) -> FloatArray:
        """The predictors of a cell, the constant first."""
        return np.array([1.0, *(_predictor(facts, name) for name in self.names)])


def _predictor(facts: CellFacts, name: str) -> float:
    if name == "log unique tokens":
        return float(np.log(facts.unique_tokens))
    if name == "log parameters":
        return float(np.log(facts.parameters))
    return float(facts.sparse)


def _names(cells: Sequence[CellCrossing]) -> list[str]:
    """Predictors that vary over cells, in the order in which they are taken in."""
    every = ("log unique tokens", "log parameters", "sparse")
    return [name for name in every if len({_predictor(c.facts, name) for c in cells}) > 1]


def _varies(cells: Sequence[CellCrossing]) -> bool:
    return bool(_names(cells))


def _design(cells: Sequence[CellCrossing]) -> RegressionData:
    """Take in predictors while the crossings leave a degree of freedom and the columns differ."""
    usable = [c for c in cells if c.at is None or c.stderr is not None]
    crossed = sum(c.at is not None for c in usable)
    names, dropped = list[str](), list[str]()
    for name in _names(usable):
        trial = np.array([[1.0, *(_predictor(c.facts, n) for n in (*names, name))] for c in usable])
        enough = crossed - trial.shape[1] >= _LEAST_DEGREES
        independent = np.linalg.matrix_rank(trial - trial.mean(axis=0)) == trial.shape[1] - 1
        (names if enough and independent else dropped).append(name)
    x_CP = np.array([[1.0, *(_predictor(c.facts, n) for n in names)] for c in usable]).reshape(-1, 1 + len(names))
    place_C = [c.at or c.beyond or c.before or 1.0 for c in usable]
    error_C = [c.stderr or 0.0 for c in usable]
    side_C = [0 if c.at is not None else 1 if c.beyond is not None else -1 for c in usable]
    return RegressionData(
        cells=tuple(usable),
        names=tuple(names),
        dropped=tuple(dropped),
        x_CP=x_CP,
        y_C=np.log(np.array(place_C, dtype=np.float64)),
        error_C=np.array(error_C),
        side_C=np.array(side_C, dtype=np.int64),
    )


@dataclass(frozen=True)
class Fit:
    """Coefficients (the constant first), their covariance, tau, and what intervals need."""

    design: RegressionData
    coefficient_P: FloatArray
    covariance_PP: FloatArray
    spread: float
    degrees: int
    alpha: float

    @property
    def t(self) -> float:
        """Student's quantile."""
        return float(special.stdtrit(self.degrees, 1 - self.alpha / 2))

    def slopes(self) -> list[Slope]:
        """The coefficients but the constant."""
        slopes = []
        for i, name in enumerate(self.design.names, start=1):
            estimate, error = float(self.coefficient_P[i]), float(np.sqrt(self.covariance_PP[i, i]))
            p = float(2 * special.stdtr(self.degrees, -abs(estimate) / error)) if error else 0.0
            low, high = estimate - self.t * error, estimate + self.t * error
            tier = self.design.cells[0].facts.quality
            slopes.append(Slope(predictor=name, quality=tier, estimate=estimate, low=low, high=high, p=p))
        return slopes

    def forecast(self, facts: CellFacts) -> Forecast:
        """Where a further cell would cross: its interval holds tau, the coefficients' error, and few cells."""
        row_P, cells = self.design.row(facts), self.design.cells
        middle = float(row_P @ self.coefficient_P)
        half = self.t * float(np.sqrt(self.spread**2 + row_P @ self.covariance_PP @ row_P))
        tokens, parameters = ([getattr(c.facts, n) for c in cells] for n in ("unique_tokens", "parameters"))
        inside = min(tokens) <= facts.unique_tokens <= max(tokens)
        return Forecast(
            facts=facts,
            at=float(np.exp(middle)),
            low=float(np.exp(max(middle - half, -_LARGEST_LOG))),
            high=float(np.exp(min(middle + half, _LARGEST_LOG))),
            extrapolated=not (inside and min(parameters) <= facts.parameters <= max(parameters)),
        )


def fit_crossings(cells: Sequence[CellCrossing], *, alpha: float) -> Fit | None:
    """Fit crossings, anybody's: those with `at` need `stderr`, the others `beyond` or `before`.

    Returns:
        The fit; None when too few of them differ.
    """
    design = _design(cells)
    return _fit(design, alpha) if design.names else None


def _fit(design: RegressionData, alpha: float) -> Fit:
    """Maximum (restricted) likelihood over tau and the coefficients, then Knapp and Hartung's scale."""
    centre_P = np.r_[0.0, design.x_CP[:, 1:].mean(axis=0)]
    x_CP = design.x_CP - centre_P
    seen = design.side_C == 0
    solution = optimize.minimize_scalar(
        lambda log_tau: -_likelihood(_coefficients(np.exp(log_tau), design, x_CP), np.exp(log_tau), design, x_CP),
        bounds=(_LEAST_LOG_SPREAD, np.log(_LARGEST_SPREAD)),
        method="bounded",
    )
    tau = float(np.exp(solution.x))
    beta_P = _coefficients(tau, design, x_CP)
    weight_C = 1 / (tau**2 + design.error_C[seen] ** 2)
    degrees = int(seen.sum()) - beta_P.size
    scale = float((weight_C * (design.y_C[seen] - x_CP[seen] @ beta_P) ** 2).sum()) / degrees
    information_PP = _information(beta_P, tau, design, x_CP)
    covariance_PP = np.linalg.pinv(information_PP) * max(1.0, scale)
    # back from centred predictors: the constant is that of x = 0
    shift_PP = np.eye(beta_P.size)
    shift_PP[0, 1:] = -centre_P[1:]
    return Fit(design, shift_PP @ beta_P, shift_PP @ covariance_PP @ shift_PP.T, tau, degrees, alpha)


def _coefficients(tau: float, design: RegressionData, x_CP: FloatArray) -> FloatArray:
    """The most likely coefficients at a given tau: Newton steps up a concave likelihood."""
    variance_C = tau**2 + design.error_C**2
    seen = design.side_C == 0
    root_C = np.sqrt(variance_C)
    beta_P = np.linalg.lstsq(x_CP[seen] / root_C[seen][:, None], design.y_C[seen] / root_C[seen], rcond=None)[0]
    for _ in range(_STEPS if not seen.all() else 0):
        left_C = design.y_C - x_CP @ beta_P
        z_C = -design.side_C * left_C / root_C
        score_C = np.where(seen, left_C / variance_C, design.side_C * _hazard(z_C) / root_C)
        step_P = np.linalg.pinv(_information(beta_P, tau, design, x_CP)) @ (x_CP.T @ score_C)
        beta_P = beta_P + step_P
        if float(np.abs(step_P).max()) < _STILL:
            break
    return np.asarray(beta_P)


def _hazard(z_C: FloatArray) -> FloatArray:
    """The normal density over its distribution function."""
    return np.asarray(np.exp(-0.5 * z_C**2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(z_C)))


def _likelihood(beta_P: FloatArray, tau: float, design: RegressionData, x_CP: FloatArray) -> float:
    seen = design.side_C == 0
    fitted_C = x_CP @ beta_P
    variance_C = tau**2 + design.error_C**2
    total = float(-0.5 * (np.log(variance_C) + (design.y_C - fitted_C) ** 2 / variance_C)[seen].sum())
    hidden = ~seen
    if hidden.any():
        place_C = design.side_C[hidden] * (fitted_C - design.y_C)[hidden] / np.sqrt(variance_C[hidden])
        total += float(special.log_ndtr(place_C).sum())
    weighted_CP = x_CP[seen] / variance_C[seen][:, None]
    return total - 0.5 * float(np.linalg.slogdet(weighted_CP.T @ x_CP[seen] + 1e-12 * np.eye(x_CP.shape[1]))[1])


def _information(beta_P: FloatArray, tau: float, design: RegressionData, x_CP: FloatArray) -> FloatArray:
    """Observed information of the coefficients at a given tau; a censored cell adds what its likelihood bends."""
    variance_C = tau**2 + design.error_C**2
    z_C = design.side_C * (x_CP @ beta_P - design.y_C) / np.sqrt(variance_C)
    hazard_C = _hazard(z_C)
    weight_C = np.where(design.side_C == 0, 1.0, hazard_C * (hazard_C + z_C)) / variance_C
    return np.asarray((x_CP * weight_C[:, None]).T @ x_CP)
