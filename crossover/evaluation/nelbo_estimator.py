"""Low-variance Monte Carlo estimate of the any-order upper bound (NELBO) from token losses under random masks.

For exact counts k uniform on 1..L the bound is the mean over draws of (1 / k) x the summed NLL of the masked tokens, in
nats per token. Two techniques reduce its variance and leave its mean unchanged:

- stratification: the K counts of an example are evenly spread over 1..L instead of drawn independently;
- a control variate: ridge regression on the *other* draws of the example predicts each token's NLL from the token and
  the masked fraction, and only the deviation from that prediction is averaged. Given the counts, a draw's positions
  are independent of the other draws', so the prediction's mean under this draw's mask is known exactly: the estimate
  is unbiased at any K.

Shapes: K draws, L tokens of a text or a block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOKEN_PRIOR = (1.0, 5.0)
"""Ridge weights that shrink a token's level and slope towards the line that all tokens share."""
SLOPE_PRIOR = 0.01
"""Ridge weight that shrinks the shared line's slope towards 0, per masked token."""


class _Line(NamedTuple):
    """Sufficient statistics of a weighted linear regression of y on x."""

    n: Floats
    x: Floats
    xx: Floats
    y: Floats
    xy: Floats

    def without(self, other: _Line) -> _Line:
        """The statistics without those of a part of the data."""
        return _Line(*(total - part for total, part in zip(self, other, strict=True)))

    def fit(self) -> tuple[Floats, Floats]:
        """Intercept and slope."""
        determinant = self.n * self.xx - self.x**2
        return (
            (self.xx * self.y - self.x * self.xy) / determinant,
            (self.n * self.xy - self.x * self.y) / determinant,
        )


def bound_of_draws(nll_KL: Floats, masked_KL: NDArray[np.bool_]) -> Floats:
    """Value of the bound for each draw, shape (K,), nats per token; their mean is an unbiased estimate.

    Args:
        nll_KL: NLL of each masked token in nats, 0 where not masked.
        masked_KL: exact-count masks with at least one token each; positions are independent between draws.
    """
    counts_K = masked_KL.sum(axis=1).astype(np.float64)
    plain_K: Floats = nll_KL.sum(axis=1) / counts_K
    if len(plain_K) < 2:
        return plain_K
    expected_KL = _expected_by_others(nll_KL, masked_KL, counts_K, plain_K)
    value_K: Floats = plain_K - (expected_KL * masked_KL).sum(axis=1) / counts_K + expected_KL.mean(axis=1)
    return value_K


def _expected_by_others(nll_KL: Floats, masked_KL: NDArray[np.bool_], counts_K: Floats, plain_K: Floats) -> Floats:
    """Predicted NLL of every token in each draw, from the other draws only. Shape (K, L), nats."""
    fraction_K = counts_K / masked_KL.shape[1] - 0.5
    common = _Line(
        counts_K, counts_K * fraction_K, counts_K * fraction_K**2, counts_K * plain_K, counts_K * fraction_K * plain_K
    )
    common_others = _Line(*(part.sum() - part for part in common))
    level_K, slope_K = common_others._replace(xx=common_others.xx + SLOPE_PRIOR * common_others.n).fit()

    fraction_K1, mask_KL = fraction_K[:, None], masked_KL.astype(np.float64)
    token = _Line(mask_KL, mask_KL * fraction_K1, mask_KL * fraction_K1**2, nll_KL, nll_KL * fraction_K1)
    others = _Line(*(part.sum(axis=0) for part in token)).without(token)
    level, slope = TOKEN_PRIOR
    level_KL, slope_KL = others._replace(
        n=others.n + level,
        xx=others.xx + slope,
        y=others.y + level * level_K[:, None],
        xy=others.xy + slope * slope_K[:, None],
    ).fit()
    expected_KL: Floats = level_KL + slope_KL * fraction_K1
    return expected_KL


def squared_stderr(value_NK: Floats, order_NK: NDArray[np.integer]) -> Floats:
    """Squared Monte Carlo standard error of each row's mean, shape (N,); NaN for a single draw.

    Successive differences over neighbouring strata (Wolter 2007, ch. 8) leave out the variance *between* strata, which
    stratification removes. The outermost draws, the noisiest at few masks, are counted in full.

    Args:
        value_NK: values of the draws.
        order_NK: sort key of the draws: their mask counts.
    """
    draws = value_NK.shape[1]
    if draws < 2:
        return np.full(len(value_NK), np.nan)
    sorted_NK = np.take_along_axis(value_NK, order_NK.argsort(axis=1, kind="stable"), axis=1)
    squares = np.diff(sorted_NK, axis=1) ** 2
    total_N: Floats = (squares.sum(axis=1) + squares[:, 0] + squares[:, -1]) / 2
    mean_N: Floats = total_N / draws**2
    return mean_N
