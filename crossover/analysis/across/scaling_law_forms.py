"""Forms of the loss of a run over parameters N, unique tokens U and tokens seen D, when data are repeated.

Both are L = E + A / N^α + B / D'^β with D' the unique tokens that the repeated ones are worth, e = D / U epochs:

- `monotone` (Muennighoff et al. 2023; Prabhudesai et al. 2025): D' = U + U R (1 - exp(-(e - 1) / R)), and D where
  e < 1. Repetition is worth less and less, and never harms. R is R_D*.
- `bending` (Ni et al. 2025, Quokka): D' = U e^κ exp(-((e - 1)+ / e_p)^γ), where e_p goes with U^a N^-b. Repetition
  harms in the end. The e_p reported is that of the geometric means of U and of N that were run.

What the runs cannot tell apart is left out: A and α with one model size (they are then part of E), a with one budget, b
with one size; with one budget κ = 1, since κ and β are then one number.

Shapes: P points of runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.across.cross_cell_result import LawForm
from crossover.analysis.curve_columns import FloatArray

_MOST = 60.0
_WORST = 6.0
_LEAST = 1e-9


@dataclass(frozen=True)
class Points:
    """Places of the points: parameters, unique tokens, tokens seen."""

    n_P: FloatArray
    u_P: FloatArray
    d_P: FloatArray

    def __getitem__(self, rows_P: NDArray[np.bool_] | NDArray[np.intp]) -> Points:
        """Some of the points."""
        return Points(self.n_P[rows_P], self.u_P[rows_P], self.d_P[rows_P])


@dataclass(frozen=True)
class Form:
    """A law with the constants that the runs can tell: `names` in the order of the vector θ.

    Positive constants stand in θ as logarithms: those in `POSITIVE`.
    """

    kind: LawForm
    names: tuple[str, ...]
    mean_n: float
    mean_u: float

    def log_loss(self, theta: FloatArray, at: Points) -> FloatArray:
        """The log of the loss at P points."""
        value = dict(zip(self.names, theta.tolist(), strict=True))
        terms = [np.full(at.d_P.size, value["E"]), value["B"] - _exp(value["β"]) * self._log_worth(value, at)]
        if "A" in value:
            terms.append(value["A"] - _exp(value["α"]) * np.log(at.n_P))
        stacked = np.clip(np.stack(terms), -_MOST, _MOST)
        return np.asarray(np.logaddexp.reduce(stacked, axis=0))

    def _log_worth(self, value: dict[str, float], at: Points) -> FloatArray:
        """Log of D'."""
        epochs_P = at.d_P / at.u_P
        beyond_P = np.maximum(epochs_P - 1, 0.0)
        if "R_D*" not in value and "e_p" not in value:
            kappa = _exp(value["κ"]) if "κ" in value else 1.0
            return np.asarray(np.log(at.u_P) + kappa * np.log(epochs_P))
        if self.kind == "monotone":
            rate = _exp(value["R_D*"])
            return np.asarray(np.log(at.u_P) + np.log(np.minimum(epochs_P, 1.0) - rate * np.expm1(-beyond_P / rate)))
        log_peak_P = value["e_p"] + value.get("a", 0.0) * np.log(at.u_P / self.mean_u)
        log_peak_P = log_peak_P - value.get("b", 0.0) * np.log(at.n_P / self.mean_n)
        log_share_P = _exp(value["γ"]) * (np.log(np.maximum(beyond_P, _LEAST)) - log_peak_P)
        share_P = np.exp(np.clip(log_share_P, -_MOST, _WORST))
        kappa = _exp(value["κ"]) if "κ" in value else 1.0
        return np.asarray(np.log(at.u_P) + kappa * np.log(epochs_P) - share_P)


def without_decay(form: Form) -> Form:
    """The form where repeated data lose nothing: without R_D*, or e_p and what it goes with."""
    return Form(form.kind, tuple(n for n in form.names if n not in DECAY), form.mean_n, form.mean_u)


DECAY = ("R_D*", "e_p", "γ", "a", "b")
"""Constants of how the worth of repeated data falls."""


def _exp(value: float) -> float:
    """A positive constant from its logarithm, kept to what a float holds."""
    return float(np.exp(np.clip(value, -20, 20)))


POSITIVE = ("E", "A", "α", "B", "β", "R_D*", "κ", "γ", "e_p")
"""Constants that are positive, and stand in θ as logarithms."""


def form_of(kind: LawForm, at: Points) -> Form:
    """The form with the constants that these points can tell."""
    sizes, budgets = np.unique(at.n_P).size > 1, np.unique(at.u_P).size > 1
    names = ["E", "B", "β", *(["A", "α"] if sizes else [])]
    if kind == "monotone":
        names.append("R_D*")
    else:
        names += ["γ", "e_p", *(["κ", "a"] if budgets else []), *(["b"] if sizes else [])]
    mean_n, mean_u = (float(np.exp(np.log(column).mean())) for column in (at.n_P, at.u_P))
    return Form(kind, tuple(names), mean_n, mean_u)


_SANE: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("α", "β", "κ", "γ"), (1e-2, 10.0)),
    **dict.fromkeys(("a", "b"), (-10.0, 10.0)),
    **{"E": (1e-3, 1e6), "A": (1e-6, 1e15), "B": (1e-6, 1e15), "R_D*": (1e-3, 1e9), "e_p": (1e-3, 1e9)},
}
_REMEDY = {
    **dict.fromkeys(("A", "α", "b"), "models of more different sizes"),
    **dict.fromkeys(("B", "β", "κ", "a"), "more different budgets of unique tokens"),
    **dict.fromkeys(("R_D*", "e_p", "γ"), "more epochs"),
    "E": "larger models and budgets, whose loss comes nearer to its floor",
}


def not_identified(values: Mapping[str, float]) -> str:
    """Constants beyond what a law may have, and what would identify them, as a sentence; empty where there are none."""
    beyond = [name for name, value in values.items() if not _SANE[name][0] <= value <= _SANE[name][1]]
    if not beyond:
        return ""
    listed = ", ".join(f"{name} = {values[name]:.2g}" for name in beyond)
    remedies = " and ".join(dict.fromkeys(_REMEDY[name] for name in beyond))
    return f"Not identified by these cells: {listed}; {remedies} would tell."
