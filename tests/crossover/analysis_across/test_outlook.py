"""What further pairs promise: chances as brute force finds them, with the verdict's own code."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulations.simulated_curves import CHECKPOINTS
from benchmarks.simulations.simulated_rounds import judge
from crossover.analysis.across.verdict_outlook import foresee, further_looks, narrowed, width_now
from crossover.analysis.analysis_result import Verdict
from crossover.analysis.curve_columns import FloatArray
from tests.crossover.analysis_across.growing import LOSS, PLAN, exact_pairs

LOOKS = (8, 12)
REPEATS = 1000


def verdict(early: float, late: float, sd: float, pairs: int = 5) -> Verdict:
    return judge(exact_pairs(early, late, sd, pairs), PLAN)


def futures(seen: Verdict, rng: np.random.Generator) -> FloatArray:
    """One future of a verdict: its pairs, and new ones from the distribution that they predict, as straight curves."""
    assert seen.early is not None
    assert seen.late is not None
    seen_SW = np.array([seen.early.per_seed, seen.late.per_seed]).T
    pairs, new = len(seen_SW), LOOKS[-1] - len(seen_SW)
    root_WW = np.linalg.cholesky(np.corrcoef(seen_SW.T) + 1e-12 * np.eye(2))
    sd_W = seen_SW.std(axis=0, ddof=1) * np.sqrt((pairs - 1) / rng.chisquare(pairs - 1, 2))
    mean_W = seen_SW.mean(axis=0) + sd_W * (root_WW @ rng.normal(size=2)) / np.sqrt(pairs)
    all_SW = np.concatenate([seen_SW, mean_W + sd_W * (rng.normal(size=(new, 2)) @ root_WW.T)])
    u_G = np.linspace(0.0, 1.0, CHECKPOINTS)
    low, high = u_G[u_G <= 0.4].mean(), u_G[u_G >= 0.85].mean()
    all_SG: FloatArray = all_SW[:, :1] + (all_SW[:, 1:] - all_SW[:, :1]) * (u_G - low) / (high - low)
    return all_SG


@pytest.mark.parametrize(
    ("early", "late", "sd"),
    [(0.03, 0.03, 0.025), (0.05, -0.05, 0.04), (0.0, 0.0, 0.02)],
    ids=["a winner", "a crossing", "no difference"],
)
def test_the_chances_are_those_of_brute_force(early: float, late: float, sd: float) -> None:
    seen = verdict(early, late, sd)
    assert seen.outcome == "insufficient evidence"
    found = foresee(seen, LOOKS, PLAN, LOSS.delta)
    assert found is not None
    rng = np.random.default_rng(11)
    outcome_RK = [
        [judge(future[:look], PLAN).outcome for look in LOOKS]
        for future in (futures(seen, rng) for _ in range(REPEATS))
    ]
    said_RK = np.array([[outcome != "insufficient evidence" for outcome in outcomes] for outcomes in outcome_RK])
    settled_K = np.logical_or.accumulate(said_RK, axis=1).mean(axis=0)
    # draws are fixed on both sides: 2.5 standard errors, tight enough to miss an ignored uncertainty
    error_K = 2.5 * np.sqrt(settled_K * (1 - settled_K) * (1 / REPEATS + 1 / 1000))
    assert np.all(np.abs(found.settled_K - settled_K) <= error_K + 0.01), (found.settled_K, settled_K)
    assert np.all(np.abs(found.other_K - said_RK.mean(axis=0)) <= error_K + 0.03), (found.other_K, said_RK.mean(axis=0))
    assert 0.1 < settled_K[0] < 0.95, "an example that could go either way"


def test_chances_rise_widths_fall_and_nothing_is_drawn_anew() -> None:
    seen = verdict(0.06, -0.05, 0.06)
    first, second = (
        foresee(seen, (6, 8, 10, 12), PLAN.model_copy(update={"looks": (5, 6, 8, 10, 12)}), 0.02) for _ in "ab"
    )
    assert first is not None
    assert second is not None
    assert np.array_equal(first.width_K, second.width_K)
    assert np.all(np.diff(first.settled_K) >= 0)
    assert np.all(np.diff(first.width_K) <= 0)
    assert np.all((first.width_K >= 1 - first.settled_K - 1e-12) & (first.width_K <= 1))


def test_too_little_foresees_nothing() -> None:
    two = judge(exact_pairs(0.03, 0.03, 0.02, pairs=2), PLAN)
    assert foresee(two, LOOKS, PLAN, 0.02) is None
    assert foresee(verdict(0.03, 0.03, 0.02), (), PLAN, 0.02) is None
    same = judge(np.full((5, CHECKPOINTS), 0.03), PLAN)
    assert foresee(same, LOOKS, PLAN, 0.02) is None


def test_more_tests_under_holm_make_it_harder() -> None:
    family = PLAN.model_copy(update={"axes": ("tokens", "flops", "seconds")})
    seen = verdict(0.03, 0.03, 0.025)
    alone, among = (foresee(seen, LOOKS, plan, 0.02) for plan in (PLAN, family))
    assert alone is not None
    assert among is not None
    assert np.all(among.settled_K < alone.settled_K)


def test_the_width_now() -> None:
    assert width_now(verdict(0.03, 0.03, 0.5)) == 1.0
    assert width_now(verdict(0.1, 0.1, 0.01)) == 0.0
    sharp, blunt = (verdict(0.1, -0.1, sd) for sd in (0.02, 0.04))
    assert sharp.crossing is not None
    assert sharp.crossing.low is not None
    assert sharp.crossing.high is not None
    assert width_now(sharp) == pytest.approx(np.log(sharp.crossing.high / sharp.crossing.low) / np.log(100))
    assert 0 < width_now(sharp) < width_now(blunt) < 1
    unbounded = sharp.model_copy(update={"crossing": sharp.crossing.model_copy(update={"low": None, "high": None})})
    assert width_now(unbounded) == 1.0


def test_a_crossing_narrows_with_t_over_root_of_the_pairs() -> None:
    found = narrowed(0.3, 5, LOOKS, 0.05)
    assert found.width_K == pytest.approx(
        [0.3 * (2.364624 / 8**0.5) / (2.776445 / 5**0.5), 0.3 * (2.200985 / 12**0.5) / (2.776445 / 5**0.5)], rel=1e-5
    )


def test_looks_still_to_come() -> None:
    assert further_looks(PLAN, 5, 12) == (8, 12)
    assert further_looks(PLAN, 6, 11) == (8,)
    assert further_looks(PLAN, 12, 20) == ()
    without = PLAN.model_copy(update={"looks": ()})
    assert (further_looks(without, 3, 7), further_looks(without, 7, 7)) == ((7,), ())
