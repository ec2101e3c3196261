"""Tables of curves as real runs leave them, with a known truth: the study drawn, and the faults done to it.

A `Kind` draws the runs of two arms from true means over tokens, with noise of runs and offsets of seeds, and then
lets a fault happen to them. `messy_kinds` lists the kinds with their parameters.
Shapes: S seeds, P points of one run, G points of a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.simulations.simulated_curves import Noise, run_noise
from crossover.analysis.analysis_plan import AnalysisPlan, Comparison, MetricPlan
from crossover.analysis.analysis_result import Direction
from crossover.analysis.curve_columns import FloatArray

START, END = 1e4, 1e6
DELTA = 0.02
NEGLIGIBLE = 0.1 * DELTA
"""A true difference smaller than this is none."""
ARMS = ("ar", "dlm")
PLAIN = Noise()
QUIET = Noise("quiet", sd=0.008, offset_sd=0.01)
STILL = Noise("still", sd=0.005, offset_sd=0.003)

Mean = Callable[[FloatArray], FloatArray]
"""Tokens to the mean over all seeds."""
Offsets = Callable[[np.random.Generator, int], FloatArray]
"""Offsets of whole runs, one per seed."""


@dataclass
class Run:
    """One run as it was logged."""

    tokens_P: FloatArray
    value_P: FloatArray
    stderr_P: FloatArray


Runs = dict[tuple[str, int], Run]
Fault = Callable[[np.random.Generator, Runs], None]
"""What happens to the runs of a study, in place."""


def share(tokens: FloatArray | float) -> FloatArray:
    """Tokens as a share of the log range from 10k to 1M."""
    return np.asarray(np.log(np.asarray(tokens) / START) / np.log(END / START))


def at_share(u: float) -> float:
    """The tokens at a share of the log range."""
    return float(START * (END / START) ** u)


def logged(points: int = 40, first: float = START) -> FloatArray:
    """Log-spaced evaluations from the first to 1M tokens, in whole tokens."""
    return np.round(np.geomspace(first, END, points))


def every(step: float, first: float | None = None) -> FloatArray:
    """Evaluations each `step` tokens up to 1M, after one at `first` if given."""
    steps = step * np.arange(1, int(END / step + 1e-9) + 1, dtype=np.float64)
    return steps if first is None else np.asarray(np.r_[first, steps[steps > first]])


def no_offsets(_: np.random.Generator, seeds: int) -> FloatArray:
    """No offsets but those of the noise."""
    return np.zeros(seeds)


def equal(tokens: FloatArray) -> FloatArray:
    """No difference anywhere."""
    return np.zeros(np.shape(tokens))


def flat(tokens: FloatArray) -> FloatArray:
    """The loss 3 at every place."""
    return np.full(np.shape(tokens), 3.0)


def falling(tokens: FloatArray) -> FloatArray:
    """A steep convex loss, 4.5 at 10k and 2.9 at 1M tokens."""
    return np.asarray(2.5 + 2.0 * (np.asarray(tokens) / START) ** -0.35)


def overfitting(tokens: FloatArray) -> FloatArray:
    """A loss that is best half-way and then rises."""
    return np.asarray(2.2 + 5.2 * (share(tokens) - 0.5) ** 2)


@dataclass(frozen=True)
class Kind:
    """A kind of study: the truth, how it is measured, and what befalls the runs. Pairs are (baseline, candidate)."""

    name: str
    difference: Mean = equal
    """The true mean of candidate minus baseline."""
    level: Mean = flat
    """The true mean of the baseline."""
    tokens: tuple[FloatArray, FloatArray] = (logged(), logged())
    noise: tuple[Noise, Noise] = (PLAIN, PLAIN)
    offsets: tuple[Offsets, Offsets] = (no_offsets, no_offsets)
    fault: Fault | None = None
    comparison: Comparison = "matched"
    exact: bool | None = True
    """Of the metric: unset, a DLM's values are an upper bound."""
    refused: bool = False
    """Whether every firm word is wrong, whatever the truth: seeds are copies."""
    unseen: str = ""
    """What misleads here and leaves no trace in the curves; empty where a test could see it."""

    def runs(self, rng: np.random.Generator, pairs: int) -> Runs:
        """Draw the runs of both arms, with what befalls them."""
        runs: Runs = {}
        for i, arm in enumerate(ARMS):
            tokens_P = self.tokens[i]
            mean_P = self.level(tokens_P) + i * self.difference(tokens_P)
            noise_SP = run_noise(rng, pairs, tokens_P.size, self.noise[i])
            offset_S = self.offsets[i](rng, pairs)
            for seed in range(pairs):
                value_P = mean_P + noise_SP[seed] + offset_S[seed]
                runs[arm, seed] = Run(tokens_P.copy(), value_P, np.full(tokens_P.size, np.nan))
        if self.fault is not None:
            self.fault(rng, runs)
        return runs

    def table(self, rng: np.random.Generator, pairs: int) -> dict[str, Any]:
        """Draw a study as `analyse` takes it."""
        return as_table(self.runs(rng, pairs))

    def plan(self) -> AnalysisPlan:
        """The plan that the study is judged by."""
        metric = MetricPlan(name="loss", direction="lower", delta=DELTA, exact=self.exact)
        return AnalysisPlan(metrics=(metric,), axes=("tokens",), comparisons=(self.comparison,))

    def truth(self, points: int = 4001) -> tuple[FloatArray, FloatArray]:
        """Places and the true difference there; of the best values so far where these are compared.

        Returns:
            (x_G, difference_G).
        """
        x_G = np.geomspace(min(tokens_P[0] for tokens_P in self.tokens), END, points)
        baseline_G = self.level(x_G)
        candidate_G = baseline_G + self.difference(x_G)
        if self.comparison == "best-so-far":
            baseline_G, candidate_G = np.minimum.accumulate(baseline_G), np.minimum.accumulate(candidate_G)
        return x_G, candidate_G - baseline_G

    def crossing(self) -> tuple[float, Direction] | None:
        """Where the true difference changes its sign for good, and how; None if it ends as it begins."""
        x_G, difference_G = self.truth()
        told = difference_G[np.abs(difference_G) > NEGLIGIBLE]
        if not told.size or told[0] * told[-1] > 0:
            return None
        last = int(np.flatnonzero(np.sign(difference_G) == np.sign(told[0]))[-1])
        return float(np.sqrt(x_G[last] * x_G[last + 1])), (
            "baseline→candidate" if told[-1] < 0 else "candidate→baseline"
        )


def as_table(runs: Runs) -> dict[str, Any]:
    """The runs as columns; `stderr` only if one is known."""
    sizes = [run.tokens_P.size for run in runs.values()]
    table = {
        "arm": np.repeat([arm for arm, _ in runs], sizes),
        "seed": np.repeat([seed for _, seed in runs], sizes),
        "tokens": np.concatenate([run.tokens_P for run in runs.values()]),
        "metric": np.repeat("loss", sum(sizes)),
        "value": np.concatenate([run.value_P for run in runs.values()]),
    }
    stderr = np.concatenate([run.stderr_P for run in runs.values()])
    return table | ({"stderr": stderr} if np.isfinite(stderr).any() else {})


# True differences. All begin with the baseline ahead; u is a share of the log range.


def apart(by: float) -> Mean:
    """The same difference everywhere."""
    return lambda tokens: np.full(np.shape(tokens), by)


def jump(at: float, size: float = 0.05) -> Mean:
    """From +size to -size at one place."""
    return lambda tokens: np.where(share(tokens) < at, size, -size)


def ramp(at: float, size: float = 0.05, half_width: float = 0.05) -> Mean:
    """From +size to -size along a line around a place."""
    return lambda tokens: np.clip(size * (at - share(tokens)) / half_width, -size, size)


def line(at: float, size: float = 0.06) -> Mean:
    """A line over the whole range through zero at a place; the larger end differs by size."""
    return lambda tokens: size * (at - share(tokens)) / max(at, 1 - at)


def steep(at: float, size: float = 0.05) -> Mean:
    """A smooth and steep change of sign."""
    return lambda tokens: -size * np.tanh(6 * (share(tokens) - at))


def knee(at: float, before: float = 0.2, after: float = 2.0) -> Mean:
    """Two lines that meet on zero: slow before, fast after."""
    return lambda tokens: np.where(share(tokens) < at, before, after) * (at - share(tokens))


def untrained_until(tokens_learnt: float, then: Mean, early: float = 0.0) -> Mean:
    """A difference that begins when both have learnt something; before, they differ by `early`."""
    return lambda tokens: np.where(np.asarray(tokens) < tokens_learnt, early, then(tokens))


def unlearnt(tokens_learnt: float) -> Mean:
    """The loss ln 259 of an untrained model, then a power law."""
    start = float(np.log(259))
    return lambda tokens: np.where(
        np.asarray(tokens) < tokens_learnt,
        start,
        2.5 + (start - 2.5) * (np.maximum(tokens, tokens_learnt) / tokens_learnt) ** -0.4,
    )


def decaying(horizon: float, drop: float = 0.3) -> Mean:
    """What a cosine decay adds that ends at a horizon: -drop there and after it."""
    return lambda tokens: -drop * 0.5 * (1 - np.cos(np.pi * np.minimum(np.asarray(tokens) / horizon, 1.0)))


def decay_gap(baseline_horizon: float, candidate_horizon: float) -> Mean:
    """What two decays that end at different places differ by."""
    return lambda tokens: decaying(candidate_horizon)(tokens) - decaying(baseline_horizon)(tokens)


def falling_with_decay(horizon: float) -> Mean:
    """The steep loss, and a decay of the learning rate."""
    return lambda tokens: falling(tokens) + decaying(horizon)(tokens)


# Offsets of seeds; their mean is zero unless said otherwise.


def lognormal(scale: float, sigma: float = 1.0) -> Offsets:
    """Skewed to worse: a few seeds far above."""
    mean = float(np.exp(sigma**2 / 2))
    return lambda rng, seeds: scale * (rng.lognormal(0.0, sigma, seeds) - mean)


def exponential(scale: float) -> Offsets:
    """Skewed to worse, less so."""
    return lambda rng, seeds: scale * (rng.exponential(1.0, seeds) - 1)


def rare_bad(probability: float, worse: float, mean: float = 0.0) -> Offsets:
    """Two modes: a run is bad with a probability, and then worse by so much; the mean is as given."""
    return lambda rng, seeds: np.asarray(
        mean + worse * ((rng.random(seeds) < probability) - probability), dtype=np.float64
    )
