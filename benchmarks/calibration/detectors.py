"""One judgement of one metric: our detector beside two naive ones, on the same simulated studies.

A naive baseline is what people do by hand: to see the sign of the mean difference flip, or to see pointwise 95 %
bootstrap bands over seeds leave zero on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.simulations.simulated_curves import (
    CHECKPOINTS,
    NOISES,
    PLAIN,
    SCENARIOS,
    Noise,
    Scenario,
    differences,
    grid,
)
from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.confidence_bands import mean_band
from crossover.analysis.inference.verdict_rules import decide, gather

PAIRS = (5, 8)
RESAMPLES = 400
PLAN = AnalysisPlan(metrics=(MetricPlan(name="loss", direction="lower", delta=0.02, exact=True),), axes=("tokens",))
SCALE = 3.0


@dataclass(frozen=True)
class Finding:
    """What a detector says of one simulated study. Places are shares of the log range; None is unbounded."""

    crosses: bool
    low: float | None = None
    high: float | None = None
    located: bool = False
    outcome: str = ""


Detector = Callable[[FloatArray, FloatArray, np.random.Generator], Finding]


@dataclass
class Tally:
    """Counts over repeats."""

    crossings: int = 0
    covered: int = 0
    located: int = 0
    unbounded: int = 0
    band_covers: int = 0
    widths: list[float] = field(default_factory=list)
    seconds: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)

    def add(self, finding: Finding, truth: float | None) -> None:
        """Count one finding."""
        self.outcomes[finding.outcome] = self.outcomes.get(finding.outcome, 0) + 1
        self.crossings += finding.crosses
        if not finding.located or truth is None:
            return
        low = -np.inf if finding.low is None else finding.low
        high = np.inf if finding.high is None else finding.high
        self.located += 1
        self.covered += bool(low <= truth <= high)
        self.unbounded += finding.low is None or finding.high is None
        self.widths.append(min(1.0, high) - max(0.0, low))


def share(x: float | None, x_G: FloatArray) -> float | None:
    """A place as a share of the log range."""
    return None if x is None else float(np.log(x / x_G[0]) / np.log(x_G[-1] / x_G[0]))


def early_late_iut(x_G: FloatArray, difference_SG: FloatArray, _: np.random.Generator) -> Finding:
    """Crossover's own method, on the path that `analyse` uses."""
    metric = PLAN.metrics[0]
    evidence = gather(x_G, difference_SG, metric, PLAN, scale=SCALE)
    decision = decide(evidence, evidence.raw, metric, PLAN)
    crossing = decision.crossing
    if crossing is None:
        return Finding(crosses=False, outcome=decision.outcome)
    return Finding(True, share(crossing.low, x_G), share(crossing.high, x_G), located=True, outcome=decision.outcome)


def naive_sign_flip(x_G: FloatArray, difference_SG: FloatArray, rng: np.random.Generator) -> Finding:
    """Naive: they cross if the mean difference flips its sign anywhere; a bootstrap of the first flip locates it."""
    return _bootstrapped(difference_SG, _first_flip(difference_SG.mean(axis=0)) is not None, rng)


def naive_pointwise(x_G: FloatArray, difference_SG: FloatArray, rng: np.random.Generator) -> Finding:
    """Naive: they cross if pointwise 95 % bootstrap bands over seeds are clear of zero on both sides somewhere."""
    means_BG = _resampled_means(difference_SG, rng)
    low_G, high_G = np.quantile(means_BG, (0.025, 0.975), axis=0)
    return _bootstrapped(difference_SG, bool(np.any(low_G > 0) and np.any(high_G < 0)), rng)


def _resampled_means(difference_SG: FloatArray, rng: np.random.Generator) -> FloatArray:
    pairs = difference_SG.shape[0]
    means: FloatArray = difference_SG[rng.integers(pairs, size=(RESAMPLES, pairs))].mean(axis=1)
    return means


def _first_flip(mean_G: FloatArray) -> float | None:
    flips = np.flatnonzero(np.sign(mean_G[1:]) != np.sign(mean_G[:-1]))
    return float(flips[0] + 0.5) / (mean_G.size - 1) if flips.size else None


def _bootstrapped(difference_SG: FloatArray, crosses: bool, rng: np.random.Generator) -> Finding:
    places = [_first_flip(mean_G) for mean_G in _resampled_means(difference_SG, rng)] if crosses else []
    found = [place for place in places if place is not None]
    if not found:
        return Finding(crosses)
    low, high = np.quantile(found, (0.025, 0.975))
    return Finding(crosses, float(low), float(high), located=True)


DETECTORS: dict[str, Detector] = {
    "early/late IUT (Crossover)": early_late_iut,
    "naive: sign of the mean flips": naive_sign_flip,
    "naive: pointwise bootstrap bands": naive_pointwise,
}


def measure(scenario: Scenario, pairs: int, repeats: int, seed: int = 20261123) -> dict[str, Tally]:
    """Let every detector judge the same simulated studies.

    Args:
        scenario: the truth.
        pairs: seed pairs in a study.
        repeats: simulated studies.
        seed: of the simulation.

    Returns:
        Detector's name to its tally.
    """
    data, resampling = (np.random.default_rng([seed, stream, pairs, SCENARIOS.index(scenario)]) for stream in (0, 1))
    x_G = grid()
    tallies = {name: Tally() for name in DETECTORS}
    for _ in range(repeats):
        difference_SG = differences(data, scenario, pairs)
        for name, detector in DETECTORS.items():
            begun = time.perf_counter()
            finding = detector(x_G, difference_SG, resampling)
            tallies[name].seconds += time.perf_counter() - begun
            tallies[name].add(finding, scenario.crossing)
        tallies["early/late IUT (Crossover)"].band_covers += _band_covers(x_G, difference_SG, scenario)
    return tallies


def _band_covers(x_G: FloatArray, difference_SG: FloatArray, scenario: Scenario) -> bool:
    band = mean_band(x_G, difference_SG, PLAN.alpha)
    truth_G = scenario.difference(np.linspace(0.0, 1.0, x_G.size))
    return bool(np.all((np.array(band.low) <= truth_G) & (truth_G <= np.array(band.high))))


def table(repeats: int) -> str:
    """The result as Markdown: the three detectors, then the outcomes and the bands of our own."""
    head = [
        "truth",
        "seed pairs",
        "detector",
        "false 'crossover'",
        "power",
        "coverage",
        "median width",
        "unbounded",
        "ms",
    ]
    rows, outcomes = [], []
    for scenario in SCENARIOS:
        for pairs in PAIRS:
            tallies = measure(scenario, pairs, repeats)
            rows += [_row(scenario, pairs, name, tally, repeats) for name, tally in tallies.items()]
            outcomes.append(_outcomes(scenario, pairs, tallies["early/late IUT (Crossover)"], repeats))
    listed = ["truth", "seed pairs", "crossover", "baseline", "candidate", "equivalent", "insufficient", "band covers"]
    return "\n\n".join((markdown(head, rows), markdown(listed, outcomes)))


def noise_table(repeats: int) -> str:
    """Our own detector under other noise: false verdicts where arms are equal, power and coverage where they cross."""
    head = ["noise", "checkpoints", "seed pairs", "false 'crossover'", "false winner", "truth", "power", "coverage"]
    rows = []
    for noise, points in [(noise, CHECKPOINTS) for noise in NOISES] + [(PLAIN, 16)]:
        for pairs in PAIRS:
            null = _own(SCENARIOS[0], pairs, repeats, noise, points)
            winners = sum(null.outcomes.get(outcome, 0) for outcome in ("baseline", "candidate"))
            for scenario in SCENARIOS:
                if scenario.crossing is None:
                    continue
                tally = _own(scenario, pairs, repeats, noise, points)
                covered = f"{tally.covered / tally.located:.3f}" if tally.located else ""
                false = [f"{null.crossings / repeats:.3f}", f"{winners / repeats:.3f}"]
                named = [noise.name, str(points), str(pairs)]
                rows.append([*named, *false, scenario.name, f"{tally.crossings / repeats:.3f}", covered])
    return markdown(head, rows)


def _own(scenario: Scenario, pairs: int, repeats: int, noise: Noise, points: int) -> Tally:
    rng = np.random.default_rng([20261123, pairs, points, NOISES.index(noise), SCENARIOS.index(scenario)])
    x_G, tally = grid(points), Tally()
    for _ in range(repeats):
        tally.add(early_late_iut(x_G, differences(rng, scenario, pairs, points, noise), rng), scenario.crossing)
    return tally


def _row(scenario: Scenario, pairs: int, name: str, tally: Tally, repeats: int) -> list[str]:
    rate = f"{tally.crossings / repeats:.3f}"
    located = tally.located > 0
    return [
        scenario.name,
        str(pairs),
        name,
        rate if scenario.crossing is None else "",
        "" if scenario.crossing is None else rate,
        f"{tally.covered / tally.located:.3f}" if located else "",
        f"{np.median(tally.widths):.2f}" if located else "",
        f"{tally.unbounded / tally.located:.3f}" if located else "",
        f"{1e3 * tally.seconds / repeats:.2f}",
    ]


def _outcomes(scenario: Scenario, pairs: int, tally: Tally, repeats: int) -> list[str]:
    order = ("crossover", "baseline", "candidate", "equivalent", "insufficient evidence")
    rates = [f"{tally.outcomes.get(outcome, 0) / repeats:.3f}" for outcome in order]
    return [scenario.name, str(pairs), *rates, f"{tally.band_covers / repeats:.3f}"]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
