"""The any-order upper bound (NELBO) from token losses under random masks, with as little noise as the draws allow.

For exact counts k uniform on 1..L the bound is the mean over draws of (1 / k) x the summed NLL of the masked tokens, in
nats a token. Two things make it quieter without moving its mean:

- strata: the K counts of an example are evenly spread over 1..L instead of drawn one by one;
- a control variate: how hard each token is, and how that grows with the masked share, is fitted by ridge regression
  to the *other* draws of the example, and only what deviates from that is averaged. Given the counts, a draw's
  positions are independent of the others', so that the fit's own mean under this draw's mask is known exactly: there
  is no bias at any K.

Shapes: K draws, L tokens of a text or a block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOKEN_PRIOR = (1.0, 5.0)
"""Weight of the common line against a token's own losses: of its level and of its slope."""
SLOPE_PRIOR = 0.01
"""Weight of a flat common line, per masked token."""


class _Line(NamedTuple):
    """Weighted sums of a regression of y on x."""

    n: Floats
    x: Floats
    xx: Floats
    y: Floats
    xy: Floats

    def without(self, other: _Line) -> _Line:
        return _Line(*(ours - theirs for ours, theirs in zip(self, other, strict=True)))

    def fit(self) -> tuple[Floats, Floats]:
        """Level and slope."""
        determinant = self.n * self.xx - self.x**2
        return (
            (self.xx * self.y - self.x * self.xy) / determinant,
            (self.n * self.xy - self.x * self.y) / determinant,
        )


def bound_of_draws(nll_KL: Floats, masked_KL: NDArray[np.bool_]) -> Floats:
    """Each draw's value of the bound, nats a token, shape (K,); their mean estimates it without bias.

    Args:
        nll_KL: NLL of each masked token in nats, 0 where it is not masked.
        masked_KL: exact-count masks, at least one token each, positions independent between draws.
    """
    counts_K = masked_KL.sum(axis=1).astype(np.float64)
    plain_K: Floats = nll_KL.sum(axis=1) / counts_K
    if len(plain_K) < 2:
        return plain_K
    expected_KL = _expected_by_others(nll_KL, masked_KL, counts_K, plain_K)
    quiet_K: Floats = plain_K - (expected_KL * masked_KL).sum(axis=1) / counts_K + expected_KL.mean(axis=1)
    return quiet_K


def _expected_by_others(nll_KL: Floats, masked_KL: NDArray[np.bool_], counts_K: Floats, plain_K: Floats) -> Floats:
    """What every token's NLL should be in each draw, judged by the other draws alone. Shape (K, L)."""
    share_K = counts_K / masked_KL.shape[1] - 0.5
    common = _Line(
        counts_K, counts_K * share_K, counts_K * share_K**2, counts_K * plain_K, counts_K * share_K * plain_K
    )
    rest = _Line(*(part.sum() - part for part in common))
    level_K, slope_K = rest._replace(xx=rest.xx + SLOPE_PRIOR * rest.n).fit()

    share_K1, own = share_K[:, None], masked_KL.astype(np.float64)
    token = _Line(own, own * share_K1, own * share_K1**2, nll_KL, nll_KL * share_K1)
    others = _Line(*(part.sum(axis=0) for part in token)).without(token)
    level, slope = TOKEN_PRIOR
    level_KL, slope_KL = others._replace(
        n=others.n + level,
        xx=others.xx + slope,
        y=others.y + level * level_K[:, None],
        xy=others.xy + slope * slope_K[:, None],
    ).fit()
    expected_KL: Floats = level_KL + slope_KL * share_K1
    return expected_KL


def squared_stderr(value_NK: Floats, order_NK: NDArray[np.integer]) -> Floats:
    """Squared Monte Carlo standard error of each row's mean, shape (N,); NaN for a single draw.

    Successive differences over neighbouring strata (Wolter 2007, ch. 8): the spread *between* strata, which
    stratification removes, is not counted. The outermost draws, the noisiest at few masks, count in full.

    Args:
        value_NK: values of the draws.
        order_NK: what to sort them by: their mask counts.
    """
    draws = value_NK.shape[1]
    if draws < 2:
        return np.full(len(value_NK), np.nan)
    sorted_NK = np.take_along_axis(value_NK, order_NK.argsort(axis=1, kind="stable"), axis=1)
    squares = np.diff(sorted_NK, axis=1) ** 2
    total_N: Floats = (squares.sum(axis=1) + squares[:, 0] + squares[:, -1]) / 2
    mean_N: Floats = total_N / draws**2
    return mean_N
