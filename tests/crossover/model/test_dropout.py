"""Dropout as a function of (key, site, position, feature): its rate, its independence, its gradient."""

import math

import pytest
import torch
from torch import Tensor

from crossover.model.dropout import Dropout

LENGTH, FEATURES = 128, 256
COUNT = LENGTH * FEATURES


def keys(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def kept(rate: float, key: int, site: int) -> Tensor:
    return Dropout(rate, keys(key))(torch.ones(1, LENGTH, FEATURES), site)[0] > 0


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack((one.flatten().float(), other.flatten().float())))[0, 1])


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("key", [0, 1, -1, -(2**31), 2**31 - 1])
def test_the_rate_is_kept_within_a_binomial_bound(rate: float, key: int) -> None:
    for site in (0, 1, 55):
        share = float(kept(rate, key, site).double().mean())
        assert abs(share - (1 - rate)) < 5 * math.sqrt(rate * (1 - rate) / COUNT)


def test_what_is_left_is_scaled_so_that_the_mean_stays() -> None:
    x = torch.randn(4, LENGTH, FEATURES, generator=torch.Generator().manual_seed(0)) + 3.0
    y = Dropout(0.3, keys(1, 2, 3, 4))(x, 0)
    torch.testing.assert_close(y[y != 0], x[y != 0] / 0.7)
    assert float(y.mean()) == pytest.approx(float(x.mean()), rel=5 * math.sqrt(0.3 / 0.7 / x.numel()) * 1.1)
    assert torch.equal(Dropout(0.0, keys(1, 2, 3, 4))(x, 0), x)


def test_an_example_has_its_pattern_however_the_batch_is_cut() -> None:
    x, all_keys = torch.ones(5, 9, 32), keys(3, -9, 2**31 - 1, 0, 77)
    full = Dropout(0.4, all_keys)(x, 2)
    for cut in (slice(0, 1), slice(1, 4), slice(4, 5)):
        assert torch.equal(full[cut], Dropout(0.4, all_keys[cut])(x[cut], 2))
    assert torch.equal(full.flip(0), Dropout(0.4, all_keys.flip(0))(x, 2))


@pytest.mark.parametrize(("key", "site"), [(6, 3), (-5, 3), (5 + 2**16, 3), (5 - 2**31, 3), (5, 4), (5, 2), (5, 19)])
def test_another_key_or_site_has_an_unrelated_pattern(key: int, site: int) -> None:
    assert abs(correlation(kept(0.5, 5, 3), kept(0.5, key, site))) < 5 / math.sqrt(COUNT)


@pytest.mark.parametrize("key", [0, -9, 2**31 - 1])
def test_shifted_dropout_counts_its_sites_from_there(key: int) -> None:
    x = torch.ones(1, 9, 32)
    for sites, site in ((2, 1), (54, 0), (2, 0)):
        assert torch.equal(Dropout(0.4, keys(key)).shifted(sites)(x, site), Dropout(0.4, keys(key))(x, sites + site))


@pytest.mark.parametrize("key", [1, -12345, 987654321])
def test_neighbours_are_unrelated(key: int) -> None:
    pattern = kept(0.5, key, 0)
    for axis in (0, 1):
        for lag in (1, 2, 16):
            assert abs(correlation(pattern, pattern.roll(lag, axis))) < 5 / math.sqrt(COUNT)


def test_the_gradient_passes_where_the_value_does() -> None:
    x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = Dropout(0.25, keys(1, 2))(x, 1)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, (y != 0).float() / 0.75)
    half = Dropout(0.25, keys(1, 2))(x.detach().bfloat16(), 1)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half != 0, y != 0)
