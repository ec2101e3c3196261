"""Tasks by item: unequal clusters make no false verdicts, and each test says of which items it speaks."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration.item_clusters import PLAN, SIZES, rate, scores
from crossover.analysis.inference.item_tests import ItemTable, claims, grand_mean, item_tests


@pytest.mark.parametrize("seed_sd", [0.02, 0.3])
@pytest.mark.parametrize(("shape", "clusters"), [("equal", 5), ("equal", 20), ("geometric", 5), ("geometric", 20)])
def test_clusters_of_any_size_make_no_false_verdicts(shape: str, clusters: int, seed_sd: float) -> None:
    false, reason = rate(400, 8, SIZES[shape](clusters), seed_sd)
    assert not reason
    assert false <= 0.07
    assert rate(400, 8, SIZES[shape](clusters), seed_sd, these=True)[0] <= 0.075


def test_a_difference_of_all_items_is_found() -> None:
    assert rate(100, 8, SIZES["equal"](20), 0.02, mean=0.4)[0] > 0.9
    assert rate(100, 8, SIZES["geometric"](20), 0.02, mean=0.8)[0] > 0.8


@pytest.mark.parametrize(("shape", "clusters"), [("one holds half", 20), ("one holds half", 50), ("equal", 3)])
def test_too_few_clusters_are_refused_by_name(shape: str, clusters: int) -> None:
    table = scores(np.random.default_rng(1), 8, SIZES[shape](clusters), 0.02)
    (test,) = item_tests([table], PLAN)
    assert test.p is None
    assert test.p_adjusted is None
    assert test.reason.startswith("cluster 0 holds ")
    assert test.equal_clusters is not None
    assert test.equal_clusters < 4
    assert test.seed_p is not None, "of these items it is tested"
    assert f"of all such items the difference is not tested: {test.reason}" in claims(test)


def test_equal_clusters_have_their_usual_error_and_degrees() -> None:
    score_SI = np.random.default_rng(3).normal(size=(6, 40))
    found = grand_mean(score_SI, np.arange(40) // 4)
    means_C = score_SI.mean(axis=0).reshape(10, 4).mean(axis=1)
    assert found.of_clusters == pytest.approx(means_C.var(ddof=1) / 10)
    assert found.cluster_degrees == pytest.approx(9)
    assert found.of_seeds == pytest.approx(score_SI.mean(axis=1).var(ddof=1) / 6)
    assert found.half_width(found.p()) == pytest.approx(abs(found.mean), rel=1e-6)


def test_an_error_of_unequal_clusters_is_unbiased() -> None:
    rng, size_C = np.random.default_rng(5), np.array([20, 4, 4, 4, 4, 4])
    code_I = np.repeat(np.arange(6), size_C)
    drawn = [grand_mean(rng.normal(size=6)[code_I][None, :], code_I) for _ in range(4000)]
    truth = ((size_C / size_C.sum()) ** 2).sum()
    assert np.mean([one.of_clusters for one in drawn]) == pytest.approx(truth, rel=0.06)


def test_both_claims_are_worded() -> None:
    rng = np.random.default_rng(2)
    effect_I = rng.normal(size=12)
    score_SI = effect_I + 0.6 + 0.01 * rng.normal(size=(6, 12))
    table = ItemTable("cloze", "margin", tuple("abcdefabcdef"), np.zeros((6, 12)), score_SI)
    (test,) = item_tests([table], PLAN)
    text = claims(test)
    assert text.startswith("of these 12 items the difference is clear of zero over 6 seed pairs (adjusted p < 0.0001)")
    assert "of all such items the difference is not clear of zero over seed pairs and 6 clusters" in text
    assert test.seed_interval is not None
    assert test.interval[0] < test.seed_interval[0] < test.seed_interval[1] < test.interval[1]
