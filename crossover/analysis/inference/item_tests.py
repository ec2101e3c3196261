"""Tasks by item: does the difference hold for other seeds *and* other items?

Two levels that cross: every seed pair answers every item, and items come in clusters (passages, templates) that stand
or fall together. Two claims, each with its test: of *these items* (Student t over the seeds' means), and of *all such
items*, seeds x clusters. Variance of the grand mean for the latter: that between seeds plus that between clusters, what
the pigeonhole bootstrap (Owen 2007, arXiv 0712.1111) estimates, without resampling.

Clusters are unequal. The residual of a cluster is scaled so that its square is unbiased if clusters differ by effects
of one variance, CR2 with that working model (Bell & McCaffrey 2002), and its degrees of freedom follow after
Satterthwaite under the same model. A cluster that holds half of the items leaves one degree of freedom, however many
others there are; with fewer than `LEAST_EQUAL_CLUSTERS` equal clusters' worth nothing is said of other items.

Both parts go into one half-width, between that of Satterthwaite's degrees of freedom, which errs in 5.5 to 6 % where
both parts are alike, and Cochran's (1964), sqrt(t1^2 V1 + t2^2 V2), which is safe and costs 10 points of power. The
noise of single answers is counted in both parts, which errs to the safe side.

Shapes: S seed pairs, I items, C clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, special

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.analysis_result import ItemTest
from crossover.analysis.axis_text import p_text
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.window_tests import holm

LEAST_EQUAL_CLUSTERS = 4.0
"""With clusters that count as fewer equal ones, no test speaks of other items: 6 to 12 % of its verdicts are false."""
_COCHRAN = 0.4
"""Share of Cochran's half-width: false verdicts in at most 5.4 % of simulated studies, 5 points of power at most."""
_SMALLEST_P = 1e-14


@dataclass(frozen=True)
class ItemTable:
    """Scores of both arms on the same items, a row for each seed pair."""

    task: str
    score: str
    clusters: tuple[str, ...]
    """The cluster of each item; an item alone is a cluster of one."""
    baseline_SI: FloatArray
    candidate_SI: FloatArray
    direction: Literal["lower", "higher"] = "higher"


@dataclass(frozen=True)
class GrandMean:
    """A mean over seeds and items: the two parts of its variance, each with its degrees of freedom."""

    mean: float
    of_seeds: float
    seed_degrees: float
    of_clusters: float
    cluster_degrees: float

    @property
    def stderr(self) -> float:
        """For other seeds and other items."""
        return float(np.sqrt(self.of_seeds + self.of_clusters))

    def half_width(self, alpha: float) -> float:
        """Of the two-sided 1 - alpha interval, for other seeds and other items."""
        variance = self.of_seeds + self.of_clusters
        if variance <= 0:
            return 0.0
        shares = self.of_seeds**2 / self.seed_degrees + self.of_clusters**2 / self.cluster_degrees
        pooled, seeds, clusters = (
            float(special.stdtrit(degrees, 1 - alpha / 2))
            for degrees in (max(1.0, variance**2 / shares), self.seed_degrees, self.cluster_degrees)
        )
        cochran = np.sqrt(seeds**2 * self.of_seeds + clusters**2 * self.of_clusters)
        return float((1 - _COCHRAN) * pooled * np.sqrt(variance) + _COCHRAN * cochran)

    def p(self) -> float:
        """Two-sided: the largest level whose interval holds zero."""

        def excess(log_alpha: float) -> float:
            return self.half_width(float(np.exp(log_alpha))) - abs(self.mean)

        low = float(np.log(_SMALLEST_P))
        if excess(low) <= 0:
            return _SMALLEST_P
        return float(np.exp(optimize.brentq(excess, low, 0.0))) if self.mean else 1.0


def item_tests(tables: Sequence[ItemTable], plan: AnalysisPlan) -> tuple[ItemTest, ...]:
    """Test every table, two-sided, Holm-adjusted over all of them.

    Args:
        tables: per-item scores.
        plan: the arms, alpha, fewest pairs.

    Returns:
        A test for each table, in order. `p` (all such items) is None with fewer pairs than the plan asks for, with
        clusters that count as fewer than `LEAST_EQUAL_CLUSTERS` equal ones, or no variance; `seed_p` (these items)
        with too few pairs or no variance between them.
    """
    tests = [_test(table, plan) for table in tables]
    adjusted = zip(holm([test.p for test in tests]), holm([test.seed_p for test in tests]), strict=True)
    return tuple(
        test.model_copy(update={"p_adjusted": of_all, "seed_p_adjusted": of_these})
        for test, (of_all, of_these) in zip(tests, adjusted, strict=True)
    )


def claims(test: ItemTest, *, alpha: float = 0.05) -> str:
    """Which of the two claims a test makes, as a sentence without its full stop.

    Args:
        test: of one task and score.
        alpha: the plan's level, that of both intervals.

    Returns:
        For example `of these 195 items the difference is clear of zero over 8 seed pairs (adjusted p = 0.01); of all
        such items it is not tested: ...`.
    """
    these = _claim(f"of these {test.items:,} items", f"over {test.pairs} seed pairs", test.seed_p_adjusted, alpha)
    every = _claim("of all such items", f"over seed pairs and {test.clusters} clusters", test.p_adjusted, alpha)
    return f"{these}; {every}" + f": {test.reason}" * bool(test.reason and test.p_adjusted is None)


def _claim(whom: str, over: str, p: float | None, alpha: float) -> str:
    if p is None:
        return f"{whom} the difference is not tested"
    return f"{whom} the difference is {'' if p <= alpha else 'not '}clear of zero {over} (adjusted {p_text(p)})"


def _test(table: ItemTable, plan: AnalysisPlan) -> ItemTest:
    pairs, items = table.baseline_SI.shape
    names, code_I = np.unique(np.asarray(table.clusters, dtype=np.str_), return_inverse=True)
    sides = [grand_mean(scores, code_I) for scores in (table.baseline_SI, table.candidate_SI)]
    difference = grand_mean(table.candidate_SI - table.baseline_SI, code_I)
    weight_C = np.bincount(code_I) / items
    reason = _problem(difference, pairs, names.tolist(), weight_C, plan)
    half = difference.half_width(plan.alpha)
    test = ItemTest(
        task=table.task,
        score=table.score,
        direction=table.direction,
        baseline=plan.baseline,
        candidate=plan.candidate,
        baseline_mean=sides[0].mean,
        baseline_stderr=sides[0].stderr,
        candidate_mean=sides[1].mean,
        candidate_stderr=sides[1].stderr,
        difference=difference.mean,
        stderr=difference.stderr,
        interval=(difference.mean - half, difference.mean + half),
        p=None if reason else difference.p(),
        p_adjusted=None,
        pairs=pairs,
        items=items,
        clusters=names.size,
        equal_clusters=float(1 / (weight_C**2).sum()),
        reason=reason,
    )
    return test if pairs < plan.minimum_pairs else test.model_copy(update=_of_these_items(difference, plan))


def _of_these_items(difference: GrandMean, plan: AnalysisPlan) -> dict[str, object]:
    """The narrower claim: Student t over the seeds' means, the items as they are."""
    error = float(np.sqrt(difference.of_seeds))
    if error <= 0:
        return {}
    half = float(special.stdtrit(difference.seed_degrees, 1 - plan.alpha / 2)) * error
    p = float(2 * special.stdtr(difference.seed_degrees, -abs(difference.mean) / error))
    return {"seed_interval": (difference.mean - half, difference.mean + half), "seed_p": p}


def _problem(difference: GrandMean, pairs: int, names: Sequence[str], weight_C: FloatArray, plan: AnalysisPlan) -> str:
    if pairs < plan.minimum_pairs:
        return f"{pairs} complete seed pairs, and a test needs {plan.minimum_pairs}"
    if len(names) < 2:
        return "all items are in one cluster, and one cluster says nothing about other items"
    count, largest = float(1 / (weight_C**2).sum()), int(np.argmax(weight_C))
    if count < LEAST_EQUAL_CLUSTERS * (1 - 1e-9):
        return (
            f"cluster {names[largest]} holds {weight_C[largest]:.0%} of the items, so that the {len(names)} clusters "
            f"count as {count:.2g} equal ones, and a test of other items needs {LEAST_EQUAL_CLUSTERS:g}"
        )
    return (
        "" if difference.stderr > 0 else "the difference is the same for all seeds and items; no error can be estimated"
    )


def grand_mean(score_SI: FloatArray, code_I: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> GrandMean:
    """The mean of scores with its variance over seeds and over clusters.

    Args:
        score_SI: a row for each seed.
        code_I: the cluster of each item, 0..C-1.

    Returns:
        The mean; a variance of 0 and one degree of freedom where there is one seed or one cluster.
    """
    seeds, items = score_SI.shape
    weight_C = np.bincount(code_I) / items
    mean = float(score_SI.mean())
    of_seeds = float(score_SI.mean(axis=1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    if weight_C.size < 2:
        return GrandMean(mean, of_seeds, max(1.0, seeds - 1.0), 0.0, 1.0)
    sums_C = np.bincount(code_I, score_SI.mean(axis=0) - mean) / items
    scale_C = 1 / (1 - 2 * weight_C + (weight_C**2).sum())
    of_clusters = float((scale_C * sums_C**2).sum())
    return GrandMean(mean, of_seeds, max(1.0, seeds - 1.0), of_clusters, _degrees(weight_C, scale_C))


def _degrees(weight_C: FloatArray, scale_C: FloatArray) -> float:
    """Satterthwaite's degrees of freedom of the clusters' variance, were their effects of one variance."""
    centred_CC = np.eye(weight_C.size) - weight_C
    form_CC = (centred_CC.T * (weight_C**2 * scale_C)) @ centred_CC
    return float(np.trace(form_CC) ** 2 / (form_CC**2).sum())
