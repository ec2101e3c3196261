"""The guard: what it objects to, and what it lets pass."""

import math

import numpy as np
import pytest

from crossover.training.loss_guard import LEAST_JUMP, SETTLED, WINDOW, LossGuard


def settled(losses: list[float], factor: float = 20.0) -> LossGuard:
    guard = LossGuard(factor)
    assert all(guard.fault(loss, 1.0) is None for loss in losses)
    return guard


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("factor", [0.0, 20.0])
def test_what_is_not_finite_is_refused_from_the_first_step(bad: float, factor: float) -> None:
    guard = LossGuard(factor)
    assert guard.fault(bad, 1.0) == f"the loss is {bad}"
    assert guard.fault(1.0, bad) == f"the gradient norm is {bad}"
    assert guard.fault(1.0, 1.0) is None


def test_a_spike_is_one_only_after_settling() -> None:
    assert settled([3.0] * (SETTLED - 1)).fault(50.0, 1.0) is None
    assert settled([3.0] * SETTLED).fault(50.0, 1.0) == "the loss jumped to 50.000 from a median of 3.000"


def test_a_spike_is_measured_in_deviations() -> None:
    losses = [3.0 + 0.2 * (-1) ** i for i in range(64)]  # median 3.0 and deviation 1.4826 x 0.2
    limit = 3.0 + 20 * 1.4826 * 0.2
    assert settled(losses).fault(limit - 0.01, 1.0) is None
    assert settled(losses).fault(limit + 0.01, 1.0) is not None
    assert settled(losses, factor=30.0).fault(limit + 0.01, 1.0) is None


def test_without_any_deviation_a_jump_is_at_least_one_nat() -> None:
    assert settled([0.01] * 64).fault(0.01 + LEAST_JUMP - 0.01, 1.0) is None
    assert settled([0.01] * 64).fault(0.01 + LEAST_JUMP + 0.01, 1.0) is not None
    assert settled([5.0] * 64).fault(0.0, 1.0) is None  # a fall is no spike


def test_a_refused_loss_is_not_remembered() -> None:
    guard = settled([3.0] * SETTLED)
    assert all(guard.fault(9.0, 1.0) for _ in range(2 * WINDOW))
    assert guard.fault(3.0, math.inf) is not None
    assert guard.fault(3.1, 1.0) is None


def test_only_the_recent_window_counts() -> None:
    guard = settled([9.0] * 64 + [8.5] * 64 + [8.0] * WINDOW)
    assert "from a median of 8.000" in (guard.fault(99.0, 1.0) or "")
    rising = LossGuard(20.0)
    assert all(rising.fault(0.05 * step, 1.0) is None for step in range(500))


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_reason(seed: int) -> None:
    draws = np.random.default_rng(seed)
    falling = 5.5 * np.exp(-np.arange(1000) / 150) + 0.5
    noisy = falling + draws.normal(0.0, 0.15, 1000) + draws.exponential(0.05, 1000)
    settled(noisy.tolist())


def test_a_factor_of_zero_looks_for_no_spike() -> None:
    assert settled([3.0] * 100, factor=0.0).fault(1e9, 1.0) is None


def test_a_restored_guard_judges_as_the_one_it_was_saved_from() -> None:
    guard, other = settled([3.0 + 0.01 * i for i in range(WINDOW + 5)]), settled([50.0] * SETTLED)
    other.restore(guard.recent)
    assert other.recent == guard.recent
    assert other.fault(60.0, 1.0) == guard.fault(60.0, 1.0) == "the loss jumped to 60.000 from a median of 3.685"
    other.restore(())
    assert all(other.fault(50.0, 1.0) is None for _ in range(SETTLED))
    assert other.fault(60.0, 1.0) == "the loss jumped to 60.000 from a median of 50.000"
