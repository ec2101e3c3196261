"""Curves with a known truth, to measure how often the method errs: scenarios, and noise like that of training runs.

The noise follows notes of training curves: checkpoints of a run are autocorrelated, seeds are offset as a whole.
Shapes: S seed pairs, G grid points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from crossover.analysis.curve_columns import FloatArray

CHECKPOINTS = 40
RANGE = (1.0, 100.0)
Fault = Literal["none", "NaN", "missing seed", "unequal grids", "short run"]


@dataclass(frozen=True)
class Noise:
    """Noise of one run: AR(1) along the checkpoints, and an offset of the whole run."""

    name: str = "AR(1)"
    autocorrelation: float = 0.5
    sd: float = 0.02
    offset_sd: float = 0.01
    growth: float = 1.0
    """The sd at the end of the range over that at its beginning, geometric in between."""
    degrees: float = 0.0
    """Degrees of freedom of Student t shocks (scaled to the sd); 0 is normal."""


PLAIN = Noise()
NOISES = (
    PLAIN,
    Noise("white", autocorrelation=0.0),
    Noise("strong AR(1), 0.9", autocorrelation=0.9),
    Noise("offsets of whole runs", sd=0.01, offset_sd=0.03),
    Noise("growing fivefold", growth=5.0, sd=0.01),
    Noise("heavy tails, t with 3 degrees", degrees=3.0),
)


@dataclass(frozen=True)
class Scenario:
    """A true mean difference (candidate minus baseline) as a function of the share u in 0..1 of the log range."""

    name: str
    difference: Callable[[FloatArray], FloatArray]
    crossing: float | None
    """Where it changes sign for good, as a share of the log range; None if it never does."""
    turns: int = 0
    """How many times it changes its sign."""


SCENARIOS = (
    Scenario("identical", np.zeros_like, None),
    Scenario("parallel, +0.03", lambda u: np.full_like(u, 0.03), None),
    Scenario("converging, +0.06 to 0", lambda u: 0.06 * (1 - u), None),
    Scenario("crossing, +0.05 to −0.05", lambda u: 0.05 - 0.1 * u, 0.5, 1),
    Scenario("crossing late and bent, +0.08 to −0.06", lambda u: 0.08 - 0.14 * u**3, (4 / 7) ** (1 / 3), 1),
    Scenario("crossing steep, ±0.05", lambda u: -0.05 * np.tanh(6 * (u - 0.6)), 0.6, 1),
    Scenario("crossing bent and large, +0.5 to −6", lambda u: 0.5 - 16 * np.maximum(0.0, u - 0.45) ** 1.5, 0.549212, 1),
)
TOUCH_AND_GO = Scenario("there and back, +0.08 −0.08 +0.08", lambda u: 0.08 * np.cos(2 * np.pi * u), None, 2)
THRICE = Scenario("crossing three times, ±0.08", lambda u: 0.08 * np.cos(3 * np.pi * u), 5 / 6, 3)


def _through(*knots: tuple[float, float]) -> Callable[[FloatArray], FloatArray]:
    """Straight between knots (u, difference)."""
    return lambda u: np.interp(u, *np.transpose(knots))


PLACES = (
    *(scenario for scenario in SCENARIOS if scenario.crossing is not None),
    Scenario("knee at the root, 1:10", _through((0, 0.05), (0.5523, 0), (1, -0.4053)), 0.5523, 1),
    Scenario("knee at the root, 1:30", _through((0, 0.04), (0.6123, 0), (1, -0.76)), 0.6123, 1),
    Scenario("knee before the root, 1:10", _through((0, 0.05), (0.5, 0.008), (1, -0.412)), 0.5 + 0.5 * 0.008 / 0.42, 1),
    Scenario("knee after the root, 1:10", _through((0, 0.05), (0.5, 0), (0.55, -0.005), (1, -0.455)), 0.5, 1),
    Scenario("knee from steep to flat, 8:1", _through((0, 0.5), (0.5123, 0), (1, -0.06)), 0.5123, 1),
    Scenario(
        "flat below zero before a fall",
        _through((0, 0.07), (0.33, 0), (0.36, -0.01), (0.75, -0.015), (1, -0.09)),
        0.33,
        1,
    ),
    Scenario("jump, +0.02 to −0.2", lambda u: np.where(u < 0.5123, 0.02, -0.2), 0.5123, 1),
    Scenario("jump, +0.2 to −0.05", lambda u: np.where(u < 0.5123, 0.2, -0.05), 0.5123, 1),
    Scenario("jump, +0.2 to −0.02", lambda u: np.where(u < 0.6123, 0.2, -0.02), 0.6123, 1),
    Scenario("tanh of width 0.005, ±0.05", lambda u: -0.05 * np.tanh((u - 0.6123) / 0.005), 0.6123, 1),
    Scenario("tanh of width 0.03, ±0.05", lambda u: -0.05 * np.tanh((u - 0.7523) / 0.03), 0.7523, 1),
    Scenario(
        "tanh of width 0.03, +0.03 to −0.3",
        lambda u: np.where(u < 0.5323, -0.03, -0.3) * np.tanh((u - 0.5323) / 0.03),
        0.5323,
        1,
    ),
    Scenario("plateau at 0.01", _through((0, 0.06), (0.3, 0.01), (0.6, 0.01), (1, -0.19)), 0.62, 1),
    Scenario(
        "plateau at 0.005, then −1", _through((0, 0.08), (0.3, 0.005), (0.65, 0.005), (1, -1)), 0.65 + 0.35 / 201, 1
    ),
)
"""True crossings with knees, jumps, steep changes and plateaus, finer than the checkpoints or not."""
Spacing = Literal["log", "linear"]


def places_grid(points: int, spacing: Spacing) -> FloatArray:
    """Checkpoints evenly in log x, or each so many tokens from the first cadence on."""
    return grid(points) if spacing == "log" else np.arange(1.0, points + 1)


def grid(points: int = CHECKPOINTS) -> FloatArray:
    """The log-spaced checkpoints of a simulated run."""
    return np.geomspace(*RANGE, points)


def run_noise(rng: np.random.Generator, runs: int, points: int = CHECKPOINTS, noise: Noise = PLAIN) -> FloatArray:
    """Noise of independent runs.

    Args:
        rng: where the draws come from.
        runs: rows.
        points: checkpoints of a run.
        noise: its kind.

    Returns:
        noise_SG.
    """
    shock_SG = rng.normal(size=(runs, points))
    if noise.degrees:
        shock_SG = rng.standard_t(noise.degrees, size=(runs, points)) / np.sqrt(noise.degrees / (noise.degrees - 2))
    noise_SG = np.empty_like(shock_SG)
    noise_SG[:, 0] = shock_SG[:, 0]
    fresh = np.sqrt(1 - noise.autocorrelation**2)
    for g in range(1, points):
        noise_SG[:, g] = noise.autocorrelation * noise_SG[:, g - 1] + fresh * shock_SG[:, g]
    sd_G = noise.sd * noise.growth ** np.linspace(0.0, 1.0, points)
    return noise_SG * sd_G + rng.normal(size=(runs, 1)) * noise.offset_sd


def differences(
    rng: np.random.Generator,
    scenario: Scenario,
    pairs: int,
    points: int = CHECKPOINTS,
    noise: Noise = PLAIN,
    spacing: Spacing = "log",
) -> FloatArray:
    """Differences of seed pairs: the scenario's truth plus the noise of both runs.

    Args:
        rng: where the draws come from.
        scenario: the truth.
        pairs: seed pairs.
        points: checkpoints of a run.
        noise: its kind.
        spacing: of the checkpoints, as in `places_grid`.

    Returns:
        difference_SG.
    """
    log_G = np.log(places_grid(points, spacing))
    truth_G = scenario.difference((log_G - log_G[0]) / (log_G[-1] - log_G[0]))
    return truth_G + run_noise(rng, pairs, points, noise) - run_noise(rng, pairs, points, noise)


def study_table(
    rng: np.random.Generator,
    scenario: Scenario,
    pairs: int,
    *,
    arms: tuple[str, ...] = ("ar", "dlm"),
    metrics: tuple[str, ...] = ("loss",),
    fault: Fault = "none",
    points: int = CHECKPOINTS,
) -> dict[str, list[Any]]:
    """A table of curves as `analyse` takes it: the last arm of `arms` differs from all others by the truth.

    Args:
        rng: where the draws come from.
        scenario: the truth, the same for every metric.
        pairs: seeds of every arm.
        arms: the baseline and the tuned arms, then the candidate.
        metrics: names; their noise is independent.
        fault: `NaN` in a tenth of the values, a `missing seed` of the candidate, `unequal grids` of the two, or a
            `short run` that ends at 95 % of the log range.
        points: checkpoints of a run.

    Returns:
        Columns.
    """
    columns: dict[str, list[Any]] = {
        name: [] for name in ("arm", "seed", "tokens", "flops", "seconds", "metric", "value")
    }
    for arm in arms:
        for seed in range(pairs):
            if fault == "missing seed" and (arm, seed) == (arms[-1], 0):
                continue
            u_P = np.linspace(0.0, 1.0, points - 7 * (fault == "unequal grids" and arm == arms[-1]))
            if fault == "short run" and (arm, seed) == (arms[0], 0):
                u_P = u_P[u_P <= 0.95]
            tokens_P = np.round(1e4 * RANGE[1] ** u_P)
            for metric in metrics:
                value_P = 3 + run_noise(rng, 1, u_P.size)[0] + scenario.difference(u_P) * (arm == arms[-1])
                if fault == "NaN":
                    value_P = np.where(rng.random(u_P.size) < 0.1, np.nan, value_P)
                for name, values in (("tokens", tokens_P), ("flops", 6e6 * tokens_P), ("seconds", tokens_P / 1e4)):
                    columns[name] += values.tolist()
                columns["value"] += value_P.tolist()
                for name, text in (("arm", arm), ("seed", seed), ("metric", metric)):
                    columns[name] += [text] * u_P.size
    return columns
