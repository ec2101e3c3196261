"""Curves with a known truth, to measure how often the method errs: scenarios, noise like that of training runs.

The noise follows notes of training curves: checkpoints of a run are autocorrelated, seeds are offset as a whole.
Shapes: S seed pairs, G grid points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crossover.analysis.columns import FloatArray

CHECKPOINTS = 40
RANGE = (1.0, 100.0)
AUTOCORRELATION = 0.5
NOISE_SD = 0.02
OFFSET_SD = 0.01


@dataclass(frozen=True)
class Scenario:
    """A true mean difference (candidate minus baseline) as a function of the share u in 0..1 of the log range."""

    name: str
    difference: Callable[[FloatArray], FloatArray]
    crossing: float | None
    """Where it changes sign for good, as a share of the log range; None if it never does."""


SCENARIOS = (
    Scenario("identical", np.zeros_like, None),
    Scenario("parallel, +0.03", lambda u: np.full_like(u, 0.03), None),
    Scenario("converging, +0.06 to 0", lambda u: 0.06 * (1 - u), None),
    Scenario("crossing, +0.05 to −0.05", lambda u: 0.05 - 0.1 * u, 0.5),
    Scenario("crossing late and bent, +0.08 to −0.06", lambda u: 0.08 - 0.14 * u**3, (4 / 7) ** (1 / 3)),
    Scenario("crossing steep, ±0.05", lambda u: -0.05 * np.tanh(6 * (u - 0.6)), 0.6),
    Scenario("crossing bent and large, +0.5 to −6", lambda u: 0.5 - 16 * np.maximum(0.0, u - 0.45) ** 1.5, 0.549212),
)


def grid(points: int = CHECKPOINTS) -> FloatArray:
    """The log-spaced checkpoints of a simulated run."""
    return np.geomspace(*RANGE, points)


def run_noise(rng: np.random.Generator, runs: int, points: int = CHECKPOINTS) -> FloatArray:
    """Noise of independent runs: AR(1) with correlation 0.5 and sd 0.02, and an offset of sd 0.01 for each run.

    Args:
        rng: where the draws come from.
        runs: rows.
        points: checkpoints of a run.

    Returns:
        noise_SG.
    """
    shock_SG = rng.normal(size=(runs, points)) * NOISE_SD
    noise_SG = np.empty_like(shock_SG)
    noise_SG[:, 0] = shock_SG[:, 0]
    fresh = np.sqrt(1 - AUTOCORRELATION**2)
    for g in range(1, points):
        noise_SG[:, g] = AUTOCORRELATION * noise_SG[:, g - 1] + fresh * shock_SG[:, g]
    return noise_SG + rng.normal(size=(runs, 1)) * OFFSET_SD


def differences(rng: np.random.Generator, scenario: Scenario, pairs: int, points: int = CHECKPOINTS) -> FloatArray:
    """Differences of seed pairs: the scenario's truth plus the noise of both runs.

    Args:
        rng: where the draws come from.
        scenario: the truth.
        pairs: seed pairs.
        points: checkpoints of a run.

    Returns:
        difference_SG.
    """
    truth_G = scenario.difference(np.linspace(0.0, 1.0, points))
    return truth_G + run_noise(rng, pairs, points) - run_noise(rng, pairs, points)
