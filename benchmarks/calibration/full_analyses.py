"""Whole analyses: families of tests, faulty tables, looks at a growing study, tuned opponents, items, shared error."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import special

from benchmarks.calibration.detectors import PLAN, markdown, share
from benchmarks.simulations.simulated_curves import (
    SCENARIOS,
    THRICE,
    TOUCH_AND_GO,
    Fault,
    Scenario,
    differences,
    grid,
    run_noise,
    study_table,
)
from crossover.analysis import AnalysisPlan, MetricPlan, analyse
from crossover.analysis.analysis_result import Crossing, Verdict
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.item_tests import ItemTable, item_tests
from crossover.analysis.inference.verdict_rules import decide, gather

NULL, CROSSING = SCENARIOS[0], SCENARIOS[5]
FAMILY = AnalysisPlan(
    metrics=tuple(MetricPlan(name=name, direction="lower", delta=0.02) for name in ("a", "b", "c")),
    axes=("tokens", "flops", "seconds"),
    comparisons=("matched",),
)
MATCHED = PLAN.model_copy(update={"comparisons": ("matched",)})
LOOKS = (5, 8, 12)
TUNED = ("ar-a", "ar-b", "ar-c")
FAULTS: tuple[Fault, ...] = ("none", "NaN", "missing seed", "unequal grids", "short run")
OPEN = ("insufficient evidence", "equivalent")


def table(repeats: int) -> str:
    """What is asked, of whom, and how often the answer was of that kind."""
    rows = [
        *_families(repeats),
        *_turning(repeats),
        *_faults(repeats),
        *_looks(repeats),
        *_tuned(repeats),
        *_items(repeats),
        *_shared(repeats),
    ]
    return markdown(["situation", "seed pairs", "counted", "rate"], rows)


def _row(situation: str, pairs: int, counted: str, hits: float) -> list[str]:
    return [situation, str(pairs), counted, f"{hits:.3f}"]


def _rate(repeats: int, hit: Callable[[np.random.Generator], float]) -> float:
    return float(np.mean([hit(np.random.default_rng([20261123, i])) for i in range(repeats)]))


def _families(repeats: int) -> list[list[str]]:
    """Equal arms, three metrics on three axes: any winner or crossover at all."""
    rows = []
    for multiplicity in ("metrics-and-axes", "none"):
        plan = FAMILY.model_copy(update={"multiplicity": multiplicity})

        def hit(rng: np.random.Generator, plan: AnalysisPlan = plan) -> float:
            curves = study_table(rng, NULL, 5, metrics=("a", "b", "c"))
            return float(any(v.outcome not in OPEN for v in analyse(curves, plan).verdicts))

        rows.append(
            _row(
                f"equal arms, 3 metrics × 3 axes, Holm over: {multiplicity}",
                5,
                "any false verdict",
                _rate(repeats, hit),
            )
        )
    return rows


def _turning(repeats: int) -> list[list[str]]:
    """Curves that turn twice end as they began: no crossover. Three turns are one, and are listed as three."""
    narrow = MATCHED.model_copy(update={"early_window": (0.0, 0.12), "late_window": (0.88, 1.0)})

    def verdict(rng: np.random.Generator, scenario: Scenario) -> Verdict:
        return analyse(study_table(rng, scenario, 8), narrow).headline

    return [
        _row(
            TOUCH_AND_GO.name,
            8,
            "false 'crossover'",
            _rate(repeats, lambda rng: verdict(rng, TOUCH_AND_GO).outcome == "crossover"),
        ),
        _row(
            TOUCH_AND_GO.name,
            8,
            "both turns listed",
            _rate(repeats, lambda rng: len(verdict(rng, TOUCH_AND_GO).turns) == 2),
        ),
        _row(THRICE.name, 8, "'crossover'", _rate(repeats, lambda rng: verdict(rng, THRICE).outcome == "crossover")),
        _row(
            THRICE.name, 8, "all three turns listed", _rate(repeats, lambda rng: len(verdict(rng, THRICE).turns) == 3)
        ),
    ]


def _faults(repeats: int) -> list[list[str]]:
    rows = []
    for fault in FAULTS:
        found = [_judged(i, NULL, fault) for i in range(repeats)]
        rows.append(
            _row(
                f"equal arms, fault: {fault}",
                6,
                "false verdict",
                float(np.mean([v.outcome not in OPEN for v, _ in found])),
            )
        )
        judged = [_judged(i, CROSSING, fault) for i in range(repeats)]
        located = [(v.crossing, x_G) for v, x_G in judged if v.crossing is not None]
        rows.append(_row(f"{CROSSING.name}, fault: {fault}", 6, "power", len(located) / repeats))
        covered = [covers(crossing, x_G) for crossing, x_G in located]
        rows.append(_row(f"{CROSSING.name}, fault: {fault}", 6, "coverage", float(np.mean(covered))))
    return rows


def covers(crossing: Crossing, x_G: FloatArray) -> bool:
    """Whether the interval holds the true place."""
    low, high = share(crossing.low, x_G), share(crossing.high, x_G)
    truth = CROSSING.crossing or 0.0
    return (low is None or low <= truth) and (high is None or truth <= high)


def _judged(i: int, scenario: Scenario, fault: Fault) -> tuple[Verdict, FloatArray]:
    rng = np.random.default_rng([20261123, i])
    return analyse(study_table(rng, scenario, 6, fault=fault), MATCHED).headline, 1e4 * grid()


def _looks(repeats: int) -> list[list[str]]:
    """Equal arms, looked at with 5, 8 and 12 pairs until a verdict: with alpha spent over the looks, and naively."""
    rows = []
    x_G, metric = grid(), MATCHED.metrics[0]
    for name, looks in (("alpha spent", LOOKS), ("naive, 0.05 each time", ())):
        plan = MATCHED.model_copy(update={"looks": looks})
        for scenario, counted in ((NULL, "false verdict at any look"), (CROSSING, "verdict 'crossover' at any look")):

            def hit(rng: np.random.Generator, plan: AnalysisPlan = plan, scenario: Scenario = scenario) -> float:
                difference_SG = differences(rng, scenario, LOOKS[-1])
                for pairs in LOOKS:
                    evidence = gather(x_G, difference_SG[:pairs], metric, plan, scale=3.0)
                    outcome = decide(evidence, evidence.raw, metric, plan).outcome
                    if outcome not in OPEN:
                        return float(scenario is NULL or outcome == "crossover")
                return 0.0

            rows.append(_row(f"{scenario.name}, looks at 5, 8 and 12 pairs, {name}", 12, counted, _rate(repeats, hit)))
    return rows


def _tuned(repeats: int) -> list[list[str]]:
    """Four equal AR arms and an equal DLM: against the best of them, picked on other seeds, and naively on all."""
    rows = []
    plan = MATCHED.model_copy(update={"tuned": TUNED})
    for pairs in (5, 8):
        settled, naive = [], []
        for i in range(repeats):
            curves = study_table(np.random.default_rng([20261123, i]), NULL, pairs, arms=("ar", *TUNED, "dlm"))
            settled.append(analyse(curves, plan).verdicts[1].outcome not in OPEN)
            late = np.array(curves["tokens"]) >= 1e4 * 100**0.85
            value, arm, seed = (np.array(curves[name])[late] for name in ("value", "arm", "seed"))
            means = {
                a: np.array([value[(arm == a) & (seed == s)].mean() for s in range(pairs)])
                for a in ("ar", *TUNED, "dlm")
            }
            best = min(("ar", *TUNED), key=lambda a: means[a].mean())
            d_S = means["dlm"] - means[best]
            naive.append(2 * special.stdtr(pairs - 1, -abs(d_S.mean()) / d_S.std(ddof=1) * np.sqrt(pairs)) <= 0.05)
        rows.append(
            _row("best of 4 equal AR arms, tested against all", pairs, "false verdict", float(np.mean(settled)))
        )
        rows.append(
            _row(
                "best of 4 equal AR arms, picked on the same seeds (naive)",
                pairs,
                "false winner",
                float(np.mean(naive)),
            )
        )
    return rows


def _items(repeats: int) -> list[list[str]]:
    """Equal models on 200 items in 50 clusters: other seeds and other items."""
    rows, code = [], np.arange(200) // 4
    for pairs in (5, 8):
        found, naive = [], []
        for i in range(repeats):
            rng = np.random.default_rng([20261123, i])
            score_SI = (
                0.1 * rng.normal(size=(pairs, 1)) + 0.5 * rng.normal(size=50)[code] + rng.normal(size=(pairs, 200))
            )
            (test,) = item_tests([ItemTable("t", "s", tuple(map(str, code)), np.zeros_like(score_SI), score_SI)], PLAN)
            found.append(test.p is not None and test.p <= 0.05)
            flat = score_SI.ravel()
            naive.append(abs(flat.mean()) / flat.std(ddof=1) * np.sqrt(flat.size) > 1.96)
        rows.append(_row("equal models, 200 items in 50 clusters", pairs, "false item verdict", float(np.mean(found))))
        rows.append(
            _row("the same, every answer independent (naive)", pairs, "false item verdict", float(np.mean(naive)))
        )
    return rows


def _shared(repeats: int) -> list[list[str]]:
    """Equal arms, but frozen masks that err by 0.02 for all runs alike: carried through, and left out."""
    rows, x_G, metric = [], grid(), MATCHED.metrics[0]
    for name, known in (("carried through", True), ("left out (naive)", False)):

        def hit(rng: np.random.Generator, known: bool = known) -> float:
            difference_SG = differences(rng, NULL, 5) + 0.02 * rng.normal()
            error_SG = np.full_like(difference_SG, 0.02) if known else None
            evidence = gather(x_G, difference_SG, metric, MATCHED, scale=3.0, error_SG=error_SG)
            return float(
                decide(evidence, evidence.raw, metric, MATCHED).outcome in ("baseline", "candidate", "crossover")
            )

        rows.append(
            _row(f"equal arms, Monte Carlo error shared by all runs, {name}", 5, "false verdict", _rate(repeats, hit))
        )
    return rows


def speed(_: int) -> str:
    """Seconds of one `analyse` call, median of 5, and of ten cells."""
    rng, x_G = np.random.default_rng(1), grid(200)
    names = tuple("abcde")
    runs = [(name, arm, seed) for name in names for arm in ("ar", "dlm") for seed in range(8)]
    tokens = np.tile(np.round(x_G * 1e4), len(runs))
    curves = {
        "metric": np.repeat([run[0] for run in runs], x_G.size),
        "arm": np.repeat([run[1] for run in runs], x_G.size),
        "seed": np.repeat([run[2] for run in runs], x_G.size),
        "tokens": tokens,
        "flops": tokens * 6e6,
        "seconds": tokens / 1e4,
        "value": 3 + run_noise(rng, len(runs), 200).ravel(),
    }
    plan = AnalysisPlan(metrics=tuple(MetricPlan(name=name, direction="lower", delta=0.02) for name in names))
    times = []
    for _repeat in range(5):
        begun = time.perf_counter()
        analyse(curves, plan, unique_tokens=10_000)
        times.append(time.perf_counter() - begun)
    one = float(np.median(times))
    rows = [["8 seeds × 2 arms × 200 checkpoints × 5 metrics × 3 axes, 2 comparisons", f"{one:.2f}", "3"]]
    rows.append(["10 such cells", f"{10 * one:.1f}", "30"])
    return markdown(["one `analyse` with figures", "seconds", "target, at most"], rows)
