"""How often does the interval of a crossing hold the true place, where the difference bends, jumps or is steep?"""

from __future__ import annotations

import numpy as np

from benchmarks.calibration.detectors import Tally, early_late_iut, markdown
from benchmarks.simulations.simulated_curves import (
    NOISES,
    PLACES,
    Noise,
    Scenario,
    Spacing,
    differences,
    places_grid,
)

PAIRS = (5, 6, 8, 12)
POINTS = (4, 5, 8, 12, 16, 20, 40, 80, 200)
SPACINGS: tuple[Spacing, ...] = ("log", "linear")
LEAST = 30
"""Rows with fewer detected crossings are counted together."""


def tally(
    scenario: Scenario, pairs: int, points: int, noise: Noise, spacing: Spacing, repeats: int, seed: int = 20261128
) -> Tally:
    """Locate the crossing in simulated studies that get the verdict 'crossover'.

    Args:
        scenario: the truth.
        pairs: seed pairs.
        points: checkpoints.
        noise: its kind.
        spacing: of the checkpoints.
        repeats: simulated studies.
        seed: of the simulation.
    """
    stream = [seed, pairs, points, NOISES.index(noise), PLACES.index(scenario), SPACINGS.index(spacing)]
    rng, x_G, counted = np.random.default_rng(stream), places_grid(points, spacing), Tally()
    for _ in range(repeats):
        difference_SG = differences(rng, scenario, pairs, points, noise, spacing)
        counted.add(early_late_iut(x_G, difference_SG, rng), scenario.crossing)
    return counted


def table(repeats: int) -> str:
    """Coverage over all truths, pairs, points, noises and spacings, as Markdown; one line a truth and a noise."""
    head = ["truth", "noise", "detected", "coverage", "lowest row", "rows below 0.91", "median width"]
    rows, few = [], Tally()
    for scenario in PLACES:
        for noise in NOISES:
            tallies = [
                tally(scenario, pairs, points, noise, spacing, repeats)
                for pairs in PAIRS
                for points in POINTS
                for spacing in SPACINGS
            ]
            judged = [t for t in tallies if t.located >= LEAST]
            for t in tallies:
                if t.located < LEAST:
                    few.located, few.covered = few.located + t.located, few.covered + t.covered
            rows.append([scenario.name, noise.name, *_figures(judged)])
    pooled = f"{few.covered / few.located:.3f}" if few.located else ""
    rows.append([f"rows with fewer than {LEAST} detected", "all", str(few.located), pooled, "", "", ""])
    return markdown(head, rows)


def _figures(judged: list[Tally]) -> list[str]:
    if not judged:
        return ["0", "", "", "", ""]
    rates = [t.covered / t.located for t in judged]
    return [
        str(sum(t.located for t in judged)),
        f"{np.mean(rates):.3f}",
        f"{min(rates):.3f}",
        f"{sum(rate < 0.91 for rate in rates)} of {len(rates)}",
        f"{np.median(np.concatenate([t.widths for t in judged])):.2f}",
    ]
