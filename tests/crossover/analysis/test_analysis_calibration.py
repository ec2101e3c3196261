"""How often the method errs, on simulated curves with a known truth. Fixed draws; docs/benchmarks has longer runs."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulations.simulated_curves import (
    NOISES,
    SCENARIOS,
    Fault,
    Noise,
    Scenario,
    differences,
    grid,
    study_table,
)
from crossover.analysis import analyse
from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.analysis.analysis_result import Crossing, Outcome
from crossover.analysis.inference.confidence_bands import mean_band
from crossover.analysis.inference.verdict_rules import decide, gather

REPEATS = 400
PLAN = AnalysisPlan(metrics=(MetricPlan(name="loss", direction="lower", delta=0.02),), axes=("tokens",))
X = grid()
NONE = [s for s in SCENARIOS if s.crossing is None]
SOME = [s for s in SCENARIOS if s.crossing is not None]
TOLERANCE = 2 * np.sqrt(0.05 * 0.95 / REPEATS)


@cache
def judged(scenario: Scenario, pairs: int) -> list[tuple[Outcome, Crossing | None]]:
    rng = np.random.default_rng([20261123, pairs])
    found = []
    for _ in range(REPEATS):
        evidence = gather(X, differences(rng, scenario, pairs), PLAN.metrics[0], PLAN, scale=3.0)
        decision = decide(evidence, evidence.raw, PLAN.metrics[0], PLAN)
        found.append((decision.outcome, decision.crossing))
    return found


def rate(scenario: Scenario, pairs: int, *words: str) -> float:
    return sum(word in words for word, _ in judged(scenario, pairs)) / REPEATS


@pytest.mark.parametrize("pairs", [5, 8])
@pytest.mark.parametrize("scenario", NONE, ids=lambda s: s.name)
def test_a_crossing_that_is_not_there_is_rarely_seen(scenario: Scenario, pairs: int) -> None:
    assert rate(scenario, pairs, "crossover") <= 0.05 + TOLERANCE


@pytest.mark.parametrize("pairs", [5, 8])
def test_identical_arms_rarely_get_a_winner(pairs: int) -> None:
    assert rate(SCENARIOS[0], pairs, "baseline", "candidate", "crossover") <= 0.05 + TOLERANCE


@pytest.mark.parametrize("pairs", [5, 8])
def test_a_difference_beyond_delta_is_rarely_called_none(pairs: int) -> None:
    assert rate(SCENARIOS[1], pairs, "equivalent") <= 0.05 + TOLERANCE
    assert rate(SCENARIOS[1], pairs, "candidate") == 0.0


@pytest.mark.parametrize(("pairs", "power"), [(5, 0.6), (8, 0.95)])
def test_a_crossing_that_is_there_is_found(pairs: int, power: float) -> None:
    assert rate(SOME[0], pairs, "crossover") >= power


@pytest.mark.parametrize("pairs", [5, 8])
@pytest.mark.parametrize("scenario", SOME, ids=lambda s: s.name)
def test_the_interval_covers_the_crossing(scenario: Scenario, pairs: int) -> None:
    assert scenario.crossing is not None
    truth = X[0] * (X[-1] / X[0]) ** scenario.crossing
    found = [crossing for _, crossing in judged(scenario, pairs) if crossing is not None]
    covered = [(c.low or 0.0) <= truth <= (c.high or np.inf) for c in found]
    assert np.mean(covered) >= 0.90
    assert all(c.direction == "baseline→candidate" for c in found)


@pytest.mark.parametrize("pairs", [5, 8])
def test_the_band_covers_the_whole_curve(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    covered = 0
    for _ in range(REPEATS):
        band = mean_band(X, differences(rng, SCENARIOS[0], pairs), 0.05)
        covered += max(band.low) <= 0 <= min(band.high)
    assert covered / REPEATS >= 0.95 - TOLERANCE


def test_the_benchmark_prints_its_tables() -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "benchmarks.calibration", "--repeats", "3"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    for words in ("early/late IUT (Crossover)", "naive: sign of the mean flips", "band covers", "looks at 5, 8 and 12"):
        assert words in done.stdout


@pytest.mark.parametrize("noise", NOISES[1:], ids=lambda noise: noise.name)
def test_other_noise_makes_no_more_crossings(noise: Noise) -> None:
    rng = np.random.default_rng(8)
    found = 0
    for _ in range(REPEATS // 2):
        evidence = gather(X, differences(rng, SCENARIOS[0], 5, noise=noise), PLAN.metrics[0], PLAN, scale=3.0)
        found += decide(evidence, evidence.raw, PLAN.metrics[0], PLAN).outcome == "crossover"
    assert found / (REPEATS // 2) <= 0.02


@pytest.mark.parametrize("fault", ["NaN", "missing seed", "unequal grids", "short run"])
def test_faulty_tables_cost_power_and_not_honesty(fault: Fault) -> None:
    def words(scenario: Scenario, repeats: int) -> list[str]:
        tables = (study_table(np.random.default_rng(i), scenario, 6, fault=fault) for i in range(repeats))
        return [analyse(table, PLAN).headline.outcome for table in tables]

    assert sum(word in ("baseline", "candidate", "crossover") for word in words(SCENARIOS[0], 60)) <= 8
    assert words(SCENARIOS[5], 20).count("crossover") >= 12
