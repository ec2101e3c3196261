"""Tasks by item whose clusters are unequal: how often a difference is found that is none, and one that is there.

Two families are equally good on the population of clusters; this study's clusters favour either by chance. Scores are
simulated as means of clusters, which is all that the test uses of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.detectors import markdown
from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.analysis.inference.item_tests import ItemTable, item_tests

PLAN = AnalysisPlan(metrics=(MetricPlan(name="loss", direction="lower", delta=0.02, exact=True),), axes=("tokens",))
PAIRS = (5, 8, 12)
CLUSTERS = (3, 5, 20, 50)
SEED_SDS = (0.02, 0.3)
"""Small and large beside the clusters' effects, of standard deviation `CLUSTER_SD`."""
CLUSTER_SD, INTERACTION_SD, ITEM_SD, ANSWER_SD = 0.3, 0.1, 0.5, 0.7
Sizes = NDArray[np.intp]


def _equal(clusters: int) -> Sizes:
    return np.full(clusters, 6, dtype=np.intp)


def _half(clusters: int) -> Sizes:
    return np.array([4 * (clusters - 1), *[4] * (clusters - 1)], dtype=np.intp)


def _geometric(clusters: int) -> Sizes:
    return np.maximum(2, np.round(60 * 0.75 ** np.arange(clusters))).astype(np.intp)


SIZES: dict[str, Callable[[int], Sizes]] = {"equal": _equal, "one holds half": _half, "geometric": _geometric}


def scores(
    rng: np.random.Generator, pairs: int, size_C: Sizes, seed_sd: float, *, mean: float = 0.0, these: bool = False
) -> ItemTable:
    """One study's differences of items: effects of clusters, items, seeds, seeds on clusters, and answers.

    With `these` the effects of clusters and items are centred: the families are equally good on these items.
    """
    code_I = np.repeat(np.arange(size_C.size), size_C)
    shared_I = CLUSTER_SD * rng.normal(size=size_C.size)[code_I] + ITEM_SD * rng.normal(size=code_I.size)
    if these:
        shared_I -= shared_I.mean()
    seed_SI = seed_sd * rng.normal(size=(pairs, 1)) + INTERACTION_SD * rng.normal(size=(pairs, size_C.size))[:, code_I]
    difference_SI = mean + shared_I + seed_SI + ANSWER_SD * rng.normal(size=(pairs, code_I.size))
    return ItemTable("task", "margin", tuple(map(str, code_I)), np.zeros_like(difference_SI), difference_SI)


def rate(
    repeats: int, pairs: int, size_C: Sizes, seed_sd: float, *, mean: float = 0.0, these: bool = False
) -> tuple[float, str]:
    """The share of studies in which a difference is said of all such items, or of these; why it is not tested."""
    rng = np.random.default_rng([20261128, pairs, *size_C.tolist(), round(1000 * seed_sd), round(1000 * mean)])
    tests = [item_tests([scores(rng, pairs, size_C, seed_sd, mean=mean, these=these)], PLAN)[0] for _ in range(repeats)]
    found = [test.seed_p if these else test.p for test in tests]
    return float(np.mean([p is not None and p <= PLAN.alpha for p in found])), tests[0].reason


def table(repeats: int) -> str:
    """False verdicts by the shape of the clusters, their number, seed pairs and the spread of seeds."""
    rows = []
    for shape, sizes in SIZES.items():
        for clusters in CLUSTERS:
            for pairs in PAIRS:
                for seed_sd in SEED_SDS:
                    every, reason = rate(repeats, pairs, sizes(clusters), seed_sd)
                    these, _ = rate(repeats, pairs, sizes(clusters), seed_sd, these=True)
                    said = "refused" if reason else f"{every:.3f}"
                    rows.append([shape, str(clusters), str(pairs), str(seed_sd), said, f"{these:.3f}"])
    head = ["clusters", "their number", "seed pairs", "spread of seeds", "false, of all such items"]
    return markdown([*head, "false, of these items"], rows)


if __name__ == "__main__":
    print(table(2000))
