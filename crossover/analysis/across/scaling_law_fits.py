"""Laws of the data-constrained regime fitted to the runs of a study: how the loss falls with data that are repeated.

Huber's loss (delta 1e-3) on the log of the loss, as Hoffmann et al. (2022), from several starts; a trust region on the
residuals in place of L-BFGS, for it converges in tens of steps. Constants' intervals come from a bootstrap over runs
(seeds drawn anew within cells): its standard error, with Student's t, since runs are few. Forms are compared by the
error on cells left out in turn, or on the late epochs where there are fewer than three cells.

Shapes: P points of runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from crossover.analysis.across.cross_cell_result import CellFacts, Constant, LawFit, LawForm
from crossover.analysis.across.scaling_law_forms import (
    DECAY,
    POSITIVE,
    Form,
    Points,
    form_of,
    not_identified,
    without_decay,
)
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.curves import Curve

HUBER = 1e-3
DRAWS = 40
KINDS: tuple[LawForm, ...] = ("monotone", "bending")
_SEED = 20261123
_POINTS_PER_CONSTANT = 3
_MOST_POINTS = 24
"""Of a run: more are so alike that they only cost time."""
_LATE = 2 / 3
_FAR = 10.0
"""A decay so many times beyond the epochs run is not seen in them."""
_FLAT = 0.02
"""Nor is one with so small an exponent, which is the same for all epochs."""
_LEAST_VALUE = 1e-100
"""No loss is smaller, but for one that is none."""
_LEAST_CELLS = 3
_FIRST, _WARM, _LAST = 25, 100, 200
"""Evaluations, at most: of a start, of a solution that begins near its end, and of the best starts."""
_FOLLOWED = 3
"""So many of the best starts are followed to their end: the first steps do not tell which ends lowest."""
_STARTS: dict[str, tuple[float, ...]] = {
    "β": (0.15, 0.4),
    "R_D*": (3.0, 20.0, 200.0),
    "γ": (0.5, 1.5),
    "e_p": (10.0, 100.0),
}
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class LawInput:
    """One cell of a study: what it is, and each arm's runs over tokens."""

    facts: CellFacts
    curves: Mapping[str, Sequence[Curve]]


@dataclass(frozen=True)
class _Data:
    """Points of one arm, with the cell and the run of each."""

    at: Points
    log_P: FloatArray
    cell_P: NDArray[np.intp]
    run_P: NDArray[np.intp]
    dropped: int

    def rows(self, keep_P: NDArray[np.bool_] | Rows) -> _Data:
        return _Data(self.at[keep_P], self.log_P[keep_P], self.cell_P[keep_P], self.run_P[keep_P], self.dropped)


def fit_laws(
    cells: Sequence[LawInput], arms: Sequence[str], *, alpha: float = 0.05, draws: int = DRAWS
) -> tuple[LawFit, ...]:
    """Fit both forms to each arm.

    Args:
        cells: with curves whose x is tokens seen and whose value is a loss, positive.
        arms: the arms to fit, one after the other; an arm without points gets a reason.
        alpha: intervals hold 1 - alpha.
        draws: of the bootstrap.

    Returns:
        Two fits an arm; with too few points, or where nothing converges, without constants and with the reason.
    """
    fits: list[LawFit] = []
    for arm in arms:
        data = _data(cells, arm)
        of_arm = [_fit(arm, kind, data, alpha, draws) for kind in KINDS]
        errors = [fit.held_out_error for fit in of_arm if fit.held_out_error is not None]
        best = min(errors) if len(errors) == len(of_arm) else None
        fits += [fit.model_copy(update={"best": best is not None and fit.held_out_error == best}) for fit in of_arm]
    return tuple(fits)


def _data(cells: Sequence[LawInput], arm: str) -> _Data:
    """The points that a law can be fitted to; those without a positive finite loss or place are counted."""
    columns: list[tuple[float, float, float, float, int, int]] = []
    runs = 0
    for number, cell in enumerate(cells):
        for curve in cell.curves.get(arm, ()):
            facts = cell.facts
            chosen = _spread(curve.x_P)
            points = zip(curve.x_P[chosen].tolist(), curve.value_P[chosen].tolist(), strict=True)
            columns += [(facts.parameters, facts.unique_tokens, x, value, number, runs) for x, value in points]
            runs += 1
    table = np.array(columns, dtype=np.float64).reshape(-1, 6)
    good_P = np.isfinite(table).all(axis=1) & (table[:, :4] > _LEAST_VALUE).all(axis=1)
    n_P, u_P, d_P, value_P, cell_P, run_P = table[good_P].T
    index = [column.astype(np.intp) for column in (cell_P, run_P)]
    return _Data(Points(n_P, u_P, d_P), np.log(value_P), index[0], index[1], int((~good_P).sum()))


def _spread(x_P: FloatArray) -> Rows:
    """At most so many points of a run, evenly in log x."""
    if x_P.size <= _MOST_POINTS or x_P[-1] <= 0:
        return np.arange(x_P.size)
    low = float(x_P[x_P > 0][0])
    places = np.geomspace(low, float(x_P[-1]), _MOST_POINTS) * (1 - 1e-9)
    return np.unique(np.minimum(np.searchsorted(x_P, places), x_P.size - 1))


def _fit(arm: str, kind: LawForm, data: _Data, alpha: float, draws: int) -> LawFit:
    runs, points = int(np.unique(data.run_P).size), int(data.log_P.size)
    bare = LawFit(
        arm=arm, form=kind, constants=(), runs=runs, points=points, error=None, held_out_error=None, reason=""
    )
    left_out = f" {data.dropped} points without a positive finite loss are left out." * bool(data.dropped)
    form = form_of(kind, data.at) if points else None
    needed = _POINTS_PER_CONSTANT * len(form.names) if form else 1
    if form is None or points < needed:
        problem = f"Not fitted: {points} points, and {needed} are needed at least."
        return bare.model_copy(update={"reason": problem + left_out})
    if float((data.at.d_P / data.at.u_P).max()) <= 1:
        problem = "Not fitted: no run repeats its data."
        return bare.model_copy(update={"reason": problem + left_out})
    theta = _solve(form, data, _starts(form, data))
    epochs = float((data.at.d_P / data.at.u_P).max())
    unseen = _unseen(form, theta, epochs)
    if unseen:
        kept = [form.names.index(name) for name in form.names if name not in DECAY]
        form = without_decay(form)
        theta = _solve(form, data, [theta[kept]])
    values = {name: _natural(name, float(value)) for name, value in zip(form.names, theta, strict=True)}
    if problem := not_identified(values):
        return bare.model_copy(update={"reason": problem + left_out})
    error = _error(form, theta, data)
    held_out, how = _held_out(kind, data, form, theta)
    drawn_BK = _bootstrap(form, theta, data, draws)
    constants = _constants(form, theta, drawn_BK, runs, _degrees(data), alpha)
    intervals = f"intervals from {draws} bootstrap draws over runs"
    if constants[0].low is None:
        intervals = "no intervals, for a cell has a single run" if draws > 1 else "no intervals were asked for"
    words = f"Fitted to {points} points of {runs} runs; {how}; {intervals}."
    fixed = _fixed(form)
    words += f" Not told apart by these runs: {fixed}." if fixed else ""
    if unseen:
        words += f" Repeated data lose nothing that these {epochs:.3g} epochs show: {', '.join(unseen)} cannot be told."
    return bare.model_copy(
        update={
            "constants": constants,
            "error": error,
            "held_out_error": held_out,
            "reason": words + left_out,
        }
    )


def _unseen(form: Form, theta: FloatArray, epochs: float) -> tuple[str, ...]:
    """Constants of a decay that lies far beyond the epochs that were run."""
    value = dict(zip(form.names, theta.tolist(), strict=True))
    name = "R_D*" if form.kind == "monotone" else "e_p"
    if value[name] < np.log(_FAR * epochs) and value.get("γ", 0.0) > np.log(_FLAT):
        return ()
    return tuple(n for n in DECAY if n in value)


def _fixed(form: Form) -> str:
    parts = []
    if "A" not in form.names:
        parts.append("A, α (one model size)" if form.kind == "monotone" else "A, α, b (one model size)")
    if form.kind == "bending" and "κ" not in form.names:
        parts.append("κ, a (one budget of unique tokens)")
    return "; ".join(parts)


def _starts(form: Form, data: _Data) -> list[FloatArray]:
    """A grid over the constants that bend the curve; levels from the data."""
    low, high = float(np.exp(data.log_P.min())), float(np.exp(data.log_P.max()))
    middle = float(np.log(data.at.u_P).mean())
    grids = [_STARTS.get(name, ()) or (1.0,) for name in form.names]
    starts = []
    for values in product(*grids):
        value = dict(zip(form.names, values, strict=True))
        value |= {"E": 0.7 * low, "B": (high - 0.7 * low) * float(np.exp(value["β"] * middle))}
        if "A" in value:
            value |= {"A": 0.1 * low * form.mean_n**0.3, "α": 0.3, "E": 0.6 * low}
        value |= {name: 0.0 for name in ("a", "b") if name in value}
        starts.append(np.array([np.log(value[n]) if n in POSITIVE else value[n] for n in form.names]))
    return starts


def _solve(form: Form, data: _Data, starts: Sequence[FloatArray]) -> FloatArray:
    """The best of several starts, a few of them followed to their end."""
    if len(starts) == 1:
        return _descend(form, data, starts[0], _WARM)[1]
    begun = sorted((_descend(form, data, start, _FIRST) for start in starts), key=lambda end: end[0])
    ended = [_descend(form, data, theta, _LAST) for _, theta in begun[:_FOLLOWED]]
    return min(ended, key=lambda end: end[0])[1]


def _descend(form: Form, data: _Data, start: FloatArray, evaluations: int) -> tuple[float, FloatArray]:
    def residual_P(theta: FloatArray) -> FloatArray:
        return form.log_loss(theta, data.at) - data.log_P

    solution = optimize.least_squares(
        residual_P,
        start,
        loss="huber",
        f_scale=HUBER,
        x_scale="jac",
        max_nfev=evaluations,
    )
    return float(solution.cost), np.asarray(solution.x, dtype=np.float64)


def _error(form: Form, theta: FloatArray, data: _Data) -> float:
    """Root mean square error of the log loss."""
    return float(np.sqrt(np.mean((form.log_loss(theta, data.at) - data.log_P) ** 2)))


def _held_out(kind: LawForm, data: _Data, form: Form, theta: FloatArray) -> tuple[float | None, str]:
    """The error on cells left out in turn; with fewer than three cells, on the last third of the log epochs."""
    cells = np.unique(data.cell_P)
    if cells.size >= _LEAST_CELLS:
        parts = [(data.rows(data.cell_P != cell), data.rows(data.cell_P == cell)) for cell in cells]
        how = "held out: each cell in turn"
    else:
        log_P = np.log(data.at.d_P / data.at.u_P)
        edge = log_P.min() + _LATE * (log_P.max() - log_P.min())
        parts = [(data.rows(log_P <= edge), data.rows(log_P > edge))]
        how = f"held out: epochs beyond {np.exp(edge):.3g}"
    squares: list[float] = []
    for seen, hidden in parts:
        fold_form = form_of(kind, seen.at) if seen.log_P.size else form
        if seen.log_P.size < _POINTS_PER_CONSTANT * len(fold_form.names) or not hidden.log_P.size:
            return None, "too few points to hold any out"
        fold_form = Form(kind, tuple(n for n in fold_form.names if n in form.names), form.mean_n, form.mean_u)
        warm = [np.array([theta[form.names.index(n)] for n in fold_form.names])]
        squares += ((fold_form.log_loss(_solve(fold_form, seen, warm), hidden.at) - hidden.log_P) ** 2).tolist()
    return float(np.sqrt(np.mean(squares))), how


def _bootstrap(form: Form, theta: FloatArray, data: _Data, draws: int) -> FloatArray:
    """θ of each draw of runs within cells, one row a draw; warm from the fit."""
    rng = np.random.default_rng(_SEED)
    rows_R = {int(run): np.flatnonzero(data.run_P == run) for run in np.unique(data.run_P)}
    cell_R = {run: int(data.cell_P[rows[0]]) for run, rows in rows_R.items()}
    groups = [[run for run in rows_R if cell_R[run] == cell] for cell in sorted(set(cell_R.values()))]
    if min(map(len, groups)) < 2:
        return np.empty((0, theta.size))
    drawn = []
    for _ in range(draws):
        chosen = [runs[i] for runs in groups for i in rng.integers(len(runs), size=len(runs))]
        drawn.append(_solve(form, data.rows(np.concatenate([rows_R[run] for run in chosen])), [theta]))
    return np.array(drawn).reshape(draws, theta.size)


def _degrees(data: _Data) -> int:
    """Runs less cells: what the spread within cells is known from."""
    return int(np.unique(data.run_P).size - np.unique(data.cell_P).size)


def _constants(
    form: Form, theta: FloatArray, drawn_BK: FloatArray, runs: int, degrees: int, alpha: float
) -> tuple[Constant, ...]:
    """Each constant with its interval: symmetric in the logarithm where it is positive.

    Runs drawn anew among the n of a cell vary (n - 1) / n as much as new runs would: the intervals are widened by
    the root of what is missing, over all cells.
    """
    constants = []
    known = degrees > 0 and drawn_BK.shape[0] > 1
    scale = float(np.sqrt(runs / degrees)) if known else 1.0
    for i, name in enumerate(form.names):
        low = high = None
        if known:
            quantiles = np.quantile(drawn_BK[:, i], special.ndtr([-1.0, 1.0]))
            half = scale * float(special.stdtrit(degrees, 1 - alpha / 2)) * float(quantiles[1] - quantiles[0]) / 2
            low, high = (_natural(name, float(theta[i]) + side * half) for side in (-1, 1))
        constants.append(Constant(name=name, value=_natural(name, float(theta[i])), low=low, high=high))
    return tuple(constants)


def _natural(name: str, value: float) -> float:
    return float(np.exp(np.clip(value, -300, 300))) if name in POSITIVE else value
