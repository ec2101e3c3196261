"""What to do next: the pairs that are asked for settle a study as often as is said, and no more falsely than alpha."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from benchmarks.calibration.advice import false_winners, settled, wrong_choices
from benchmarks.calibration.detectors import PLAN
from benchmarks.simulations.simulated_curves import NOISES, Noise
from crossover.analysis.further_words import added_looks, further_words, looks_edit
from crossover.analysis.inference.alpha_spending import next_level, nominal_alpha
from crossover.analysis.inference.further_evidence import MOST_FURTHER_PAIRS, further_pairs, further_pairs_range
from crossover.analysis.inference.window_tests import WindowTest

AR1, OFFSETS = NOISES[0], NOISES[3]


def made(*per_seed: float) -> WindowTest:
    values = np.array(per_seed)
    return WindowTest(1.0, 2.0, values, float(values.mean()), float(values.std(ddof=1)), 0.5, 0.5)


@pytest.mark.parametrize(("noise", "low", "high"), [(AR1, 0.7, 0.98), (OFFSETS, 0.62, 0.9)])
def test_the_pairs_asked_for_settle_it_about_as_often_as_is_said(noise: Noise, low: float, high: float) -> None:
    """The full table is in the benchmark: 75 to 95 %. The advice of before settled 35 % with offsets of whole runs."""
    share, told = settled(noise, 5, 160)
    assert low <= share <= high
    assert told > 0.95


def test_following_the_advice_adds_few_false_winners() -> None:
    first, last, followed = false_winners(OFFSETS, 5, 120)
    assert last - first <= 0.02
    assert followed <= 0.04


def test_looks_added_after_a_judgement_share_a_tenth_of_alpha() -> None:
    looks, rng = (5, 9, 30, 90), np.random.default_rng(3)
    sums_RN = rng.normal(size=(60_000, looks[-1])).cumsum(axis=1)
    rejected_R = np.zeros(len(sums_RN), dtype=bool)
    total = []
    for n in looks:
        z_R = np.abs(sums_RN[:, n - 1]) / np.sqrt(n)
        level = nominal_alpha(looks, n, 0.05, spending="added")
        assert level is not None
        rejected_R |= z_R >= -float(special.ndtri(level / 2))
        total.append(rejected_R.mean())
    assert total[0] == pytest.approx(0.05, abs=0.003)
    assert total[1] == pytest.approx(0.054, abs=0.003)
    assert total[-1] <= 0.055 + 0.003


def test_a_further_look_does_not_change_the_levels_of_those_before() -> None:
    for looks in ((5, 9), (5, 9, 14), (5, 9, 200)):
        assert nominal_alpha(looks, 9, 0.05, spending="added") == pytest.approx(next_level(PLAN, 5, 9), rel=1e-6)
    added = PLAN.model_copy(update={"looks": (5, 9), "spending": "added"})
    assert 0 < next_level(added, 9, 14) < next_level(PLAN, 5, 9) < 0.05
    planned = PLAN.model_copy(update={"looks": (5, 9)})
    assert next_level(planned, 5, 9) == nominal_alpha((5, 9), 9, 0.05)
    assert next_level(planned, 9, 14) == 0, "what was planned is used up"
    assert next_level(PLAN, 3, 5) == 0.05, "three pairs were not judged"


def test_the_range_holds_the_point_and_widens_with_doubt() -> None:
    clear, vague = made(0.05, 0.03, 0.04, 0.01, 0.0, 0.06, 0.05, 0.01), made(0.05, -0.02, 0.04, 0.01, 0.0)
    found = []
    for test in (clear, vague):
        further = further_pairs(test, test, delta=0.001, plan=PLAN)
        assert further is not None
        low, high = further_pairs_range(test, test, further, delta=0.001, plan=PLAN)
        assert 1 <= low <= further
        assert further <= (MOST_FURTHER_PAIRS if high is None else high)
        found.append((further, MOST_FURTHER_PAIRS + 1 if high is None else high))
    assert found[0] < found[1]


def test_the_words_declare_the_looks_first() -> None:
    level = next_level(PLAN, 5, 14)
    assert further_words(5, 9, PLAN, (3, 40)) == (
        "about 9 more (3 to 40) would settle it with 80 % power; the test at 5 has used up α = 0.05: declare looks: "
        f"[5, 14] with spending: added first, and the test at 14 is at {level:.2g}"
    )
    assert looks_edit(5, 9, PLAN) == "seeds: 14\nanalysis: {looks: [5, 14], spending: added}"
    added = PLAN.model_copy(update={"looks": (5, 14), "spending": "added"})
    assert added_looks(14, 6, added) == (5, 14, 20)
    assert added_looks(5, 9, added) == ()
    planned = PLAN.model_copy(update={"looks": (5, 9)})
    assert further_words(5, 4, planned, (1, None)) == "about 4 more (1 or far more) would settle it with 80 % power"
    assert "a study of other seeds starts anew" in further_words(9, None, planned)
    assert further_words(5, None, planned) == "none of the looks ahead (9) is expected to settle it"
    assert further_words(5, None, PLAN) == "none of up to 200 more pairs is expected to settle it"


def test_a_choice_at_any_budget_errs_no_more_often_than_a_verdict() -> None:
    """Intervals that looked at each budget by itself chose one of two equal arms in 20 % of studies."""
    inside, _ = wrong_choices(5, 80, ("epochs",))
    assert inside <= 0.075
