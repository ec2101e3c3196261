"""The interval of a crossing where the difference bends, jumps or is steep between checkpoints. Fixed draws."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration.places import tally
from benchmarks.simulations.simulated_curves import NOISES, PLACES, SCENARIOS, Scenario, Spacing, differences, grid
from crossover.analysis.inference.crossing_location import locate

REPEATS = 60
CASES: list[tuple[int, int, Spacing]] = [(5, 4, "log"), (8, 12, "linear"), (5, 40, "log"), (8, 200, "log")]
"""Seed pairs, checkpoints, their spacing."""


@pytest.mark.parametrize("scenario", PLACES, ids=lambda s: s.name)
def test_the_interval_holds_the_place_whatever_the_shape(scenario: Scenario) -> None:
    found = [tally(scenario, pairs, points, NOISES[0], spacing, REPEATS) for pairs, points, spacing in CASES]
    located, covered = sum(t.located for t in found), sum(t.covered for t in found)
    assert located >= 30
    assert covered / located >= 0.91


@pytest.mark.parametrize(
    ("name", "pairs", "points", "root"),
    [("flat below zero before a fall", 8, 40, 0.33), ("crossing bent and large, +0.5 to −6", 5, 4, 0.549212)],
)
def test_the_audited_cases(name: str, pairs: int, points: int, root: float) -> None:
    """A knee of eight pairs and 40 checkpoints; a large bend of five pairs and four checkpoints (both once missed)."""
    scenario = next(s for s in PLACES if s.name == name)
    found = tally(scenario, pairs, points, NOISES[0], "log", 120)
    assert scenario.crossing == pytest.approx(root)
    assert found.located >= 60
    assert found.covered / found.located >= 0.91


def test_four_checkpoints_place_a_crossing_no_finer_than_between_two() -> None:
    x_G = grid(4)
    crossing = locate(
        x_G, differences(np.random.default_rng(1), SCENARIOS[6], 5, 4), falling=True, alpha=0.05, lower=True
    )
    assert crossing is not None
    assert crossing.low is not None
    assert crossing.high is not None
    assert crossing.low <= x_G[1] * (1 + 1e-9)
    assert crossing.high >= x_G[2] * (1 - 1e-9)


@pytest.mark.parametrize("bound", [0.0, 0.02])
def test_a_bound_of_the_bias_widens_the_interval(bound: float) -> None:
    x_G, difference_SG = grid(), differences(np.random.default_rng(2), SCENARIOS[3], 8)
    plain = locate(x_G, difference_SG, falling=True, alpha=0.05, lower=True)
    bounded = locate(x_G, difference_SG, falling=True, alpha=0.05, lower=True, bound_G=np.full(40, bound))
    assert plain is not None
    assert bounded is not None
    low, high = ((bounded.low or 0.0, plain.low or 0.0), (plain.high or np.inf, bounded.high or np.inf))
    if bound:
        assert low[0] < low[1]
        assert high[0] < high[1]
    else:
        assert (bounded.low, bounded.high) == (plain.low, plain.high)
