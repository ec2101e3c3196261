"""How often does the interval of the ratio of two tiers' crossings hold the truth?"""

from __future__ import annotations

import numpy as np

from benchmarks.calibration.detectors import markdown
from benchmarks.simulations.simulated_curves import Noise, run_noise
from crossover.analysis import AnalysisPlan, MetricPlan, analyse
from crossover.analysis.across.cross_cell_result import CellFacts
from crossover.analysis.across.crossing_regression import AnalysedCell
from crossover.analysis.across.quality_shift import quality_shifts
from crossover.analysis.curve_columns import FloatArray

PLAN = AnalysisPlan(
    metrics=(MetricPlan(name="loss", direction="lower", delta=0.02),), axes=("tokens",), comparisons=("matched",)
)
EPOCH = 10_000
CHECKPOINT_EPOCHS = np.geomspace(1, 100, 17)
SLOPE = 0.15
"""Loss by which the arms' difference falls over a factor of ten in tokens."""
CROSSING = 12.0
"""Epoch at which the lower tier crosses."""
SPREAD = 0.1
"""Standard deviation of the log of a seed's own crossing, in each tier: half of its variance is common to both."""
NOISES = (
    Noise("none", sd=0.0, offset_sd=0.0),
    Noise("white, sd 0.004", autocorrelation=0.0, sd=0.004, offset_sd=0.0),
    Noise("white, sd 0.01", autocorrelation=0.0, sd=0.01, offset_sd=0.0),
    Noise("white, sd 0.02", autocorrelation=0.0, sd=0.02, offset_sd=0.0),
    Noise("AR(1) 0.5, sd 0.02", sd=0.02, offset_sd=0.0),
)
RATIO = 1.5
PAIRS = (5, 8)


def tier(rng: np.random.Generator, quality: str, crossing_S: FloatArray, noise: Noise) -> AnalysedCell:
    """An analysed cell of one tier, whose seed pairs cross at epochs of their own.

    Args:
        rng: of the noise.
        quality: name of the tier.
        crossing_S: epoch at which each pair crosses.
        noise: of each run.
    """
    pairs, points = crossing_S.size, CHECKPOINT_EPOCHS.size
    value_RSP = 3 + run_noise(rng, 2 * pairs, points, noise).reshape(2, pairs, points)
    value_RSP[1] += SLOPE * np.log10(crossing_S[:, None] / CHECKPOINT_EPOCHS)
    tokens = np.tile(np.round(CHECKPOINT_EPOCHS * EPOCH), 2 * pairs)
    table = {
        "arm": np.repeat(["ar", "dlm"], pairs * points),
        "seed": np.tile(np.repeat(np.arange(pairs), points), 2),
        "metric": np.repeat("loss", tokens.size),
        "tokens": tokens,
        "flops": 6e6 * tokens,
        "value": value_RSP.ravel(),
    }
    facts = CellFacts(cell=f"u{EPOCH}-{quality}-nano", unique_tokens=EPOCH, parameters=1_000_000, quality=quality)
    return facts, analyse(table, PLAN, unique_tokens=EPOCH)


def row(noise: Noise, pairs: int, repeats: int) -> list[str]:
    """How often both tiers cross, the interval holds the truth, and the shift is found; the median width."""
    rng = np.random.default_rng([20261129, NOISES.index(noise), pairs])
    held, moved, widths = [], [], []
    for _ in range(repeats):
        own_3S = SPREAD * np.sqrt(0.5) * rng.normal(size=(3, pairs))
        log_place_2S = np.log([[CROSSING], [CROSSING * RATIO]]) + own_3S[:2] + own_3S[2]
        cells = [
            tier(rng, name, np.exp(place_S), noise) for name, place_S in zip(("low", "high"), log_place_2S, strict=True)
        ]
        (shift,) = quality_shifts(cells)
        if shift.interval is not None:
            held.append(shift.interval[0] <= RATIO <= shift.interval[1])
            moved.append(bool(shift.moves))
            widths.append(shift.interval[1] / shift.interval[0])
    shares = [f"{np.mean(found):.3f}" if found else "" for found in (held, moved)]
    width = f"{np.median(widths):.2f}" if widths else ""
    return [noise.name, str(pairs), f"{len(held) / repeats:.3f}", *shares, width]


def table(repeats: int) -> str:
    """Every noise and number of pairs, as Markdown."""
    head = ["noise of checkpoints", "seed pairs", "both cross", "coverage", "said to move", "median width"]
    rows = [row(noise, pairs, repeats) for noise in NOISES for pairs in PAIRS]
    return markdown(head, rows)
