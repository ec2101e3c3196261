"""Looking at a study while it grows: how much of alpha each planned look may use (Lan & DeMets 1983).

The unit of information is the seed pair: with looks at n_1 < ... < n_K pairs the fraction at look k is t_k = n_k / n_K.
A spending function says how much of alpha is used up by t; the boundary of each look follows from the joint
distribution of the standardised means, which have independent increments (Armitage, McPherson & Rowe 1969). Each
boundary's nominal two-sided level is then used in the t tests (Jennison & Turnbull 2000, section 3.8).

A study that was judged before any looks were declared has used up alpha with that. `added` takes it as the first look
and gives all later ones together `ADDED` of alpha, by their number and not by their pairs, so that a further look may
be added, whatever was seen, without changing the levels of those before: all together err in at most 1.1 alpha.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import optimize, special

from crossover.analysis.analysis_plan import AnalysisPlan, Spending
from crossover.analysis.curve_columns import FloatArray

ADDED = 0.1
"""What all looks added after a judgement at alpha may use, as a share of alpha."""
_LEFT = 0.2
"""The share of that which an added look leaves to those after it."""
_NODES = 401
_WIDEST = 9.0
"""Boundaries are sought up to so many standard errors."""


def nominal_alpha(looks: tuple[int, ...], pairs: int, alpha: float, *, spending: Spending = "pocock") -> float | None:
    """The two-sided level at which a study of so many pairs may be tested.

    Args:
        looks: numbers of pairs at which it was planned to look, rising; empty for one look at any number.
        pairs: complete pairs now.
        alpha: what all looks together may use.
        spending: `pocock` spends evenly and stops early; `obrien-fleming` saves nearly all for the end; `added` is for
            looks declared after the first of them was judged at alpha.

    Returns:
        The level; that of the last look for more pairs than planned; None between looks, when nothing may be tested.
    """
    if not looks:
        return alpha
    pairs = min(pairs, looks[-1])
    return _levels(looks, alpha, spending)[looks.index(pairs)] if pairs in looks else None


def next_level(plan: AnalysisPlan, pairs: int, then: int, *, judged: bool = True) -> float:
    """The level at which a study of so many pairs may be tested when it has grown; 0 where it may not.

    Args:
        plan: its looks, alpha and spending.
        pairs: complete pairs now.
        then: pairs at the next test.
        judged: whether it was judged with the pairs that it has now.
    """
    if judged and pairs >= plan.minimum_pairs and (not plan.looks or plan.spending == "added"):
        looks = (*(n for n in plan.looks if n < pairs), pairs, then)
        return nominal_alpha(looks, then, plan.alpha, spending="added") or 0.0
    level = nominal_alpha(plan.looks, then, plan.alpha, spending=plan.spending)
    return level if level is not None and (not plan.looks or then <= plan.looks[-1]) else 0.0


def spent(fraction: float, alpha: float, spending: Spending) -> float:
    """How much of alpha is used up at an information fraction in 0..1."""
    if spending == "pocock":
        return alpha * float(np.log(1 + (np.e - 1) * fraction))
    return 4 * float(special.ndtr(special.ndtri(alpha / 4) / np.sqrt(fraction)))


def _spent_by_look(looks: tuple[int, ...], alpha: float, spending: Spending) -> list[float]:
    """How much of alpha is used up at each look."""
    if spending == "added":
        return [alpha * (1 + ADDED * (1 - _LEFT**k)) for k in range(len(looks))]
    return [spent(n / looks[-1], alpha, spending) for n in looks]


@lru_cache(maxsize=1024)
def _levels(looks: tuple[int, ...], alpha: float, spending: Spending) -> tuple[float, ...]:
    """The nominal level of each look. The density of the mean on the paths that go on is carried on a grid."""
    fractions = [n / looks[-1] for n in looks]
    levels, used = [], 0.0
    place_N, weight_N, before = np.zeros(1), np.ones(1), 0.0
    for fraction, total in zip(fractions, _spent_by_look(looks, alpha, spending), strict=True):
        step, share = float(np.sqrt(fraction - before)), total - used
        given = (place_N, weight_N, step, fraction, share)
        if _excess(_WIDEST, *given) >= 0:  # so small a share that nothing can be tested with it
            bound = _WIDEST
            levels.append(0.0)
        else:
            bound = float(optimize.brentq(_excess, 0.0, _WIDEST, given, xtol=1e-10))
            levels.append(float(2 * special.ndtr(-bound)))
        if len(levels) == len(looks):
            break
        edge = bound * np.sqrt(fraction)
        here_N, width_N = _simpson(edge)
        kernel_NN = np.exp(-0.5 * ((here_N[:, None] - place_N) / step) ** 2) / (step * np.sqrt(2 * np.pi))
        place_N, weight_N, before, used = here_N, width_N * (kernel_NN @ weight_N), fraction, used + share
    return tuple(levels)


def _excess(
    bound: float, place_N: FloatArray, weight_N: FloatArray, step: float, fraction: float, share: float
) -> float:
    """Chance to cross ±bound now, on paths that went on until now, minus the share that may be spent."""
    edge = bound * np.sqrt(fraction)
    beyond_N = special.ndtr((place_N - edge) / step) + special.ndtr((-edge - place_N) / step)
    return float(weight_N @ beyond_N - share)


def _simpson(edge: float) -> tuple[FloatArray, FloatArray]:
    """Nodes in ±edge with the weights of Simpson's rule."""
    nodes = np.linspace(-edge, edge, _NODES)
    weights = np.where(np.arange(_NODES) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return nodes, weights * (nodes[1] - nodes[0]) / 3
