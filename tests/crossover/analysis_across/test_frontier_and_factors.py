"""The frontier over model sizes, and how much of a gap an ablation closes: planted answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crossover.analysis.across.gap_factors import factors
from crossover.analysis.across.model_size_frontier import analyse_frontier, frontier_curves
from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.curves import Curve
from tests.crossover.analysis.analysis_curves import LOSS, Table, noisy, table

FLOPS = AnalysisPlan(metrics=(LOSS,), axes=("tokens", "flops"), comparisons=("matched", "frontier"))


def scaled(curves: Table, factor: float) -> Table:
    """The same with other FLOPs a token."""
    return curves | {"flops": [factor * f for f in curves["flops"]]}


def curve(x: list[float], value: list[float]) -> Curve:
    return Curve(np.array(x), np.array(value), np.full(len(x), np.nan))


def test_a_frontier_is_the_best_of_all_models_so_far() -> None:
    small = {("ar", 0): curve([1, 2, 4], [5.0, 4.0, 3.9]), ("ar", 1): curve([1], [1.0])}
    large = {("ar", 0): curve([2, 4, 8], [4.5, 3.5, 3.6])}
    found = frontier_curves([small, large], LOSS)
    assert set(found) == {("ar", 0)}
    assert found["ar", 0].x_P.tolist() == [1, 2, 4, 8]
    assert found["ar", 0].value_P.tolist() == [5.0, 4.0, 3.5, 3.5]
    higher = frontier_curves([small, large], LOSS.model_copy(update={"direction": "higher"}))
    assert higher["ar", 0].value_P.tolist() == [5.0, 5.0, 5.0, 5.0]


def test_the_frontier_crosses_where_the_larger_model_of_one_family_takes_over() -> None:
    """Small models: AR is better throughout. Large ones: the DLM is, but they begin at more FLOPs."""
    small = scaled(table(noisy(lambda u: 0.3, sd=0.004)), 1.0)
    large = scaled(table(noisy(lambda u: -1.6 + u, sd=0.004, seed=1)), 10.0)
    found = analyse_frontier({"small": small, "large": large}, FLOPS)
    assert found is not None
    assert [(v.axis, v.comparison) for v in found.verdicts] == [("tokens", "frontier"), ("flops", "frontier")]
    at_tokens, at_flops = found.verdicts
    assert (
        at_tokens.outcome == "candidate"
    )  # with the tokens given and FLOPs free, the large model is there from the start
    assert at_flops.outcome == "crossover"
    assert at_flops.crossing is not None
    assert at_flops.crossing.direction == "baseline→candidate"
    assert "the best model size so far" in at_flops.reason


def test_no_frontier_without_sizes() -> None:
    assert analyse_frontier({"small": table(noisy(lambda u: 0.1))}, FLOPS) is None


def planted(closed: float, fixed: float) -> Callable[[str, int, float], float]:
    """The DLM is better by 0.4; AR with masks closes a share of that; fixed orders lose a share of it."""
    offset = {"dlm": -0.4, "ar-masked-input": -0.4 * closed, "dlm-fixed": -0.4 * (1 - fixed)}

    def value(arm: str, seed: int, u: float) -> float:
        rng = np.random.default_rng([seed, len(arm), round(1e6 * u)])
        return 3 + offset.get(arm, 0.0) + 0.01 * float(rng.normal()) + 0.02 * seed

    return value


def test_planted_shares_are_recovered() -> None:
    arms = ("ar", "dlm", "ar-masked-input", "dlm-fixed")
    curves = table(planted(0.25, 0.6), arms=arms)
    found = factors(curves, FLOPS, {"ar-masked-input": "Monte Carlo augmentation", "dlm-fixed": "any-order modelling"})
    assert [f.name for f in found] == ["Monte Carlo augmentation", "any-order modelling", "super-dense compute"]
    for factor, truth in zip(found[:2], (0.25, 0.6), strict=True):
        assert factor.gap == pytest.approx(-0.4, abs=0.02)
        assert factor.closed == pytest.approx(truth, abs=0.03)
        assert factor.closed_interval is not None
        low, high = factor.closed_interval
        assert low is not None
        assert high is not None
        assert low < truth < high
    assert "5 seeds" in found[0].reason


def test_compute_is_read_off_the_runs() -> None:
    """The difference grows with tokens, and the DLM spends twice the FLOPs: at equal FLOPs it has seen half."""
    curves = table(noisy(lambda u: -0.4 * u, sd=0.002))
    twice = [2.0 if arm == "dlm" else 1.0 for arm in curves["arm"]]
    curves["flops"] = [f * t for f, t in zip(curves["flops"], twice, strict=True)]
    (found,) = factors(curves, FLOPS, {})
    assert found.name == "super-dense compute"
    assert found.closed is not None
    assert found.closed > 0.1
    assert "2.00 times the FLOPs a token" in found.reason
    assert "times the FLOPs to be as good as ar ever was" in found.reason


def test_a_gap_that_is_not_there_has_no_shares() -> None:
    arms = ("ar", "dlm", "ar-masked-input")
    curves = table(lambda arm, seed, u: planted(0, 0)("ar" + "x" * len(arm), seed, u), arms=arms)
    found = factors(curves, FLOPS, {"ar-masked-input": "Monte Carlo augmentation"})[0]
    assert found.closed is None
    assert "not clear of zero" in found.reason


def test_an_ablation_without_shared_seeds_says_so() -> None:
    curves = table(planted(0.5, 0.5), arms=("ar", "dlm"))
    other = table(planted(0.5, 0.5), arms=("ar-masked-input",), seeds=(7, 8))
    both = {name: [*curves[name], *other[name]] for name in curves}
    found = factors(both, FLOPS, {"ar-masked-input": "Monte Carlo augmentation"})[0]
    assert found.closed is None
    assert "share no seed" in found.reason
