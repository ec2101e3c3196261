"""Where one server overtakes another: known crossings, noise, and what cannot be said."""

from __future__ import annotations

import numpy as np
import pytest

from crossover.analysis.serving_crossing import ServedRate, ServingCrossing, serving_crossing

CONCURRENCY = (1, 2, 4, 8, 16, 32)


def rates(*per_concurrency: tuple[float, ...]) -> tuple[ServedRate, ...]:
    latency = {"first_token_p50": 0.1, "first_token_p99": 0.2, "total_p50": 1.0, "total_p99": 2.0}
    return tuple(
        ServedRate(concurrency=c, requests=4, tokens_per_second=values, **latency)
        for c, values in zip(CONCURRENCY, per_concurrency, strict=False)
    )


def power(start: float, slope: float, noise: float = 0.0, seed: int = 0, repeats: int = 3) -> tuple[ServedRate, ...]:
    """start x concurrency^slope, with multiplicative noise."""
    draw = np.random.default_rng(seed)
    return rates(
        *(
            tuple(float(start * c**slope * np.exp(noise * draw.standard_normal())) for _ in range(repeats))
            for c in CONCURRENCY
        )
    )


def test_a_crossing_is_where_the_ratio_is_one() -> None:
    """100 c against 300 c^0.5 meet at c = 9, whatever the grid."""
    found = serving_crossing(power(100, 1), power(300, 0.5))
    assert found.outcome == "baseline overtakes"
    assert (found.at, found.low, found.high) == pytest.approx((9, 9, 9))
    turned = serving_crossing(power(300, 0.5), power(100, 1))
    assert turned.outcome == "candidate overtakes"
    assert (turned.at, turned.low, turned.high) == pytest.approx((9, 9, 9))


@pytest.mark.parametrize(("start", "outcome"), [(100, "candidate"), (400, "baseline")])
def test_one_is_faster_throughout(start: float, outcome: str) -> None:
    assert serving_crossing(power(start, 0.5), power(300, 0.5)) == ServingCrossing(outcome=outcome)


def test_the_interval_covers_the_crossing() -> None:
    """95 of 100, within what chance allows; the two measured lines have 5 % of noise."""
    covered = resolved = 0
    for seed in range(200):
        found = serving_crossing(power(100, 1, 0.05, seed), power(300, 0.5, 0.05, 1000 + seed))
        if found.outcome != "baseline overtakes":
            continue
        assert found.low is not None and found.high is not None and found.at is not None
        assert found.low <= found.at <= found.high
        resolved += 1
        covered += found.low <= 9 <= found.high
    assert resolved > 180
    assert covered / resolved > 0.92


def test_noise_is_no_order() -> None:
    """Equal servers: an order at every concurrency, or a crossing, is rarer than the level."""
    claims = sum(
        serving_crossing(power(100, 0.5, 0.05, seed), power(100, 0.5, 0.05, 1000 + seed)).outcome != "unresolved"
        for seed in range(200)
    )
    assert claims <= 4


def test_ends_that_are_not_resolved_give_no_crossing() -> None:
    slow, fast = (90.0, 100.0, 110.0), (99.0, 101.0, 100.0)
    assert serving_crossing(rates(slow, (300, 301, 302)), rates(fast, (100, 101, 102))).outcome == "unresolved"
    low, high = (99.0, 100.0, 101.0), (199.0, 200.0, 201.0)
    twice = serving_crossing(rates(high, low, high), rates(low, high, low))
    assert twice.outcome == "unresolved", "faster at both ends and slower between them"


def test_both_are_measured_alike() -> None:
    with pytest.raises(ValueError, match="as many repeats"):
        serving_crossing(power(1, 1), power(1, 1, repeats=2))


def test_between_concurrencies() -> None:
    from crossover.analysis.serving_crossing import Served

    served = Served(
        arm="ar", run="r", run_digest="d", step=1, checkpoint_digest="c", setting={}, metric="m", quality=1.0,
        rates=power(100, 0.5),
    )  # fmt: skip
    assert served.rate_at(9) == pytest.approx(300)
