"""The best tuned arm as opponent, tasks by item, and what Holm adjusts over."""

from __future__ import annotations

import numpy as np
import pytest

from crossover.analysis import AnalysisPlan, analyse
from crossover.analysis.inference.item_tests import ItemTable, grand_mean, item_tests
from crossover.analysis.inference.window_tests import holm
from crossover.errors import CurvesError
from tests.crossover.analysis.analysis_curves import LOSS, PLAN, Table, joined, noisy, only, table

ARMS = ("ar", "dlm", "ar-a", "ar-b", "ar-c")
TUNED = PLAN.model_copy(update={"tuned": ARMS[2:]})


def of_arms(offset: dict[str, float], *, seeds: int = 6, sd: float = 0.01, seed: int = 0) -> Table:
    """White noise around a constant of each arm."""
    rng = np.random.default_rng(seed)
    noise = {(arm, s): rng.normal(size=17) * sd for arm in ARMS for s in range(seeds)}
    return table(
        lambda arm, s, u: 3 + offset.get(arm, 0.0) + float(noise[arm, s][round(16 * u)]), seeds=range(seeds), arms=ARMS
    )


def test_the_best_tuned_arm_is_the_opponent() -> None:
    default, tuned = analyse(of_arms({"ar-b": -0.2, "dlm": -0.1}), TUNED).verdicts
    assert (default.baseline, default.outcome) == ("ar", "candidate")
    assert (tuned.baseline, tuned.outcome) == ("tuned-ar", "baseline")
    assert set(tuned.picks) == {"ar-b"}
    assert default.picks == ()
    assert "Tuned AR is better late" in tuned.reason
    assert "ar-b 6 times" in tuned.reason


def test_the_default_arm_may_be_the_best_tuned_one() -> None:
    _, tuned = analyse(of_arms({"ar": -0.5}), TUNED).verdicts
    assert set(tuned.picks) == {"ar"}


def test_picking_the_best_of_equal_arms_does_not_bias_the_verdict() -> None:
    """All arms are equal: the difference to the arm picked on other seeds is zero; to the one picked on all, not."""
    honest, cursed = [], []
    for seed in range(150):
        curves = of_arms({}, sd=0.05, seed=seed)
        late = analyse(curves, TUNED).verdicts[1].late
        assert late is not None
        honest.append(late.mean)
        finals = {arm: _late(curves, arm) for arm in ARMS}
        cursed.append(finals["dlm"] - min(v for arm, v in finals.items() if arm != "dlm"))
    error = float(np.std(honest) / np.sqrt(len(honest)))
    assert abs(np.mean(honest)) < 3 * error
    assert np.mean(cursed) > 5 * error


def _late(curves: Table, arm: str) -> float:
    rows = only(curves, lambda row: row["arm"] == arm and row["tokens"] >= 5e5)
    return float(np.mean(rows["value"]))


def test_seeds_that_a_tuned_arm_lacks_are_left_out() -> None:
    curves = only(of_arms({"ar-b": -0.2}), lambda row: (row["arm"], row["seed"]) != ("ar-c", 0))
    default, tuned = analyse(curves, TUNED).verdicts
    assert (default.pairs, tuned.pairs) == (6, 5)
    alone = only(curves, lambda row: row["arm"] != "ar-c" or row["seed"] == 1)
    _, nothing = analyse(alone, TUNED).verdicts
    assert nothing.outcome == "insufficient evidence"
    assert "no tuned arm can be chosen" in nothing.reason


def test_a_tuned_arm_without_any_rows_is_refused_by_name() -> None:
    with pytest.raises(CurvesError, match="the plan's tuned arm 'ar-c' has no rows"):
        analyse(only(of_arms({"ar-b": -0.2}), lambda row: row["arm"] != "ar-c"), TUNED)


def test_holm_adjusts_over_metrics_and_axes_unless_told_otherwise() -> None:
    value = noisy(lambda u: 0.05 - 0.1 * u)
    curves = joined(table(value), table(value, metric="loss2"))
    metrics = (LOSS, LOSS.model_copy(update={"name": "loss2"}))
    found = {
        multiplicity: analyse(
            curves,
            AnalysisPlan(
                metrics=metrics, axes=("tokens", "flops"), comparisons=("matched",), multiplicity=multiplicity
            ),
        ).headline
        for multiplicity in ("metrics-and-axes", "metrics", "none")
    }
    raw = found["none"].p_crossover
    assert raw is not None
    assert found["none"].p_adjusted == raw
    assert found["metrics"].p_adjusted == pytest.approx(min(1, 2 * raw))
    assert found["metrics-and-axes"].p_adjusted == pytest.approx(min(1, 4 * raw))


def test_items_are_tested_over_seeds_and_clusters() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=200)
    baseline = truth + rng.normal(size=(6, 200)) * 0.3
    better = baseline + 0.4 + rng.normal(size=(6, 200)) * 0.3
    clusters = tuple(f"c{i // 4}" for i in range(200))
    tables = [
        ItemTable("cloze", "margin", clusters, baseline, better),
        ItemTable("cloze", "accuracy", clusters, baseline, baseline + rng.normal(size=(6, 200)) * 0.3),
        ItemTable("one", "margin", ("c",) * 200, baseline, better),
        ItemTable("few", "margin", clusters, baseline[:3], better[:3]),
        ItemTable("same", "margin", clusters, baseline, baseline),
    ]
    found, noise, one, few, same = item_tests(tables, PLAN)
    assert found.difference == pytest.approx(0.4, abs=0.05)
    assert found.interval[0] < 0.4 < found.interval[1]
    assert (found.pairs, found.items, found.clusters) == (6, 200, 50)
    assert found.p is not None
    assert found.p < 1e-4
    assert [found.p_adjusted, noise.p_adjusted] == pytest.approx(holm([found.p, noise.p]))
    assert "one cluster" in one.reason
    assert "needs 5" in few.reason
    assert "no error can be estimated" in same.reason
    assert (one.p, few.p, same.p) == (None, None, None)
    assert analyse(of_arms({}), PLAN, items=tables).items[0] == found


def test_items_in_clusters_count_less_than_alone() -> None:
    rng = np.random.default_rng(4)
    score_SI = np.repeat(rng.normal(size=20), 10) + 0.1 * rng.normal(size=(8, 200))
    together, alone = (grand_mean(score_SI, np.arange(200) // size) for size in (10, 1))
    assert together.mean == alone.mean
    assert together.stderr > 2.5 * alone.stderr
    assert together.stderr == pytest.approx(
        np.repeat(score_SI.mean(axis=0).reshape(20, 10).mean(axis=1), 1).std(ddof=1) / np.sqrt(20), rel=0.02
    )


@pytest.mark.parametrize(("seeds", "clusters"), [(5, 0.5), (5, 0.0), (8, 0.3)])
def test_the_item_test_keeps_its_size(seeds: int, clusters: float) -> None:
    rng, code = np.random.default_rng(1), np.arange(200) // 4
    rejected = 0
    for _ in range(600):
        scores = (
            0.3 * rng.normal(size=(seeds, 1)) + clusters * rng.normal(size=50)[code] + rng.normal(size=(seeds, 200))
        )
        (test,) = item_tests([ItemTable("t", "s", tuple(map(str, code)), np.zeros_like(scores), scores)], PLAN)
        rejected += test.p is not None and test.p <= 0.05
    assert rejected / 600 <= 0.08
