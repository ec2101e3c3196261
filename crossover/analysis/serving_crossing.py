"""From how many concurrent requests on one family serves more tokens a second than the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

LEVEL = 0.95
"""Confidence of intervals."""
Outcome = Literal["baseline", "candidate", "baseline overtakes", "candidate overtakes", "unresolved"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServedRate(_Record):
    """What clients got of a server at one concurrency."""

    concurrency: int = Field(ge=1, description="Clients at once.")
    requests: int = Field(ge=1, description="Of one repeat.")
    tokens_per_second: tuple[float, ...] = Field(description="Of each repeat, over all clients; without padding.")
    first_token_p50: float = Field(description="Seconds; the median of the repeats, as the three below.")
    first_token_p99: float
    total_p50: float
    total_p99: float

    @property
    def mean(self) -> float:
        """Tokens per second, the geometric mean of the repeats."""
        return float(np.exp(np.mean(np.log(self.tokens_per_second))))


class Served(_Record):
    """A checkpoint as it was served, and how good it is by its evaluation."""

    arm: str
    run: str
    run_digest: str
    step: int
    checkpoint_digest: str
    setting: dict[str, Any] = Field(description="Fields of the requests that say how it decodes.")
    metric: str
    quality: float
    rates: tuple[ServedRate, ...]

    def rate_at(self, concurrency: float) -> float:
        """Tokens per second, between the measured concurrencies by their logarithms."""
        x = np.log([rate.concurrency for rate in self.rates])
        return float(np.exp(np.interp(np.log(concurrency), x, np.log([rate.mean for rate in self.rates]))))


class ServingCrossing(_Record):
    """Which of two is faster, and from which concurrency on.

    `baseline` and `candidate` are faster at every measured concurrency; where one overtakes, the other is faster at the
    lowest concurrency and it is at the highest, both beyond the repeats' noise. Anything else is unresolved.
    """

    outcome: Outcome
    at: float | None = Field(default=None, description="Concurrent requests; interpolated in their logarithm.")
    low: float | None = Field(default=None, description="Confidence interval by the repeats.")
    high: float | None = None


class ServingComparison(_Record):
    """A measurement of both families on one machine, with equal prompts and answers of one length."""

    measured_at: str
    device: str
    cores: float
    prompt_tokens: int
    answer_tokens: int
    baseline: Served
    """Autoregressive."""
    candidate: Served
    """A diffusion model in the setting that was asked for."""
    exact: Served
    """The same, with one token in each pass and without an approximate cache."""
    agreement: float = Field(description="Share of the candidate's greedy tokens that exact decoding gives as well.")
    crossing: ServingCrossing
    exact_crossing: ServingCrossing


def serving_crossing(baseline: Sequence[ServedRate], candidate: Sequence[ServedRate]) -> ServingCrossing:
    """Compare two servers.

    Args:
        baseline: at rising concurrencies; at least two repeats, each beside one of the candidate.
        candidate: at the same ones.

    Raises:
        ValueError: they were not measured alike.
    """
    if [(r.concurrency, len(r.tokens_per_second)) for r in baseline] != [
        (r.concurrency, len(r.tokens_per_second)) for r in candidate
    ]:
        raise ValueError("both were measured at the same concurrencies with as many repeats")
    x = np.log([rate.concurrency for rate in baseline])
    ratio_CR = np.log([b.tokens_per_second for b in baseline]) - np.log([c.tokens_per_second for c in candidate])
    mean, low, high = _intervals(ratio_CR)
    signs = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    if abs(signs.sum()) == len(signs):
        return ServingCrossing(outcome="baseline" if signs[0] > 0 else "candidate")
    if signs[0] * signs[-1] != -1:
        return ServingCrossing(outcome="unresolved")
    rising = signs[0] < 0
    at = _last_zero(x, mean if rising else -mean)
    first, last = (high, low) if rising else (-low, -high)
    return ServingCrossing(
        outcome="baseline overtakes" if rising else "candidate overtakes",
        at=float(np.exp(at)),
        low=float(np.exp(_first_zero(x, first))),
        high=float(np.exp(_last_zero(x, last))),
    )


def _intervals(ratio_CR: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Mean over the repeats (last axis) and its confidence interval by Student's t."""
    from scipy import stats  # manifests have these records, and no stage needs it to read them

    repeats = ratio_CR.shape[1]
    mean = ratio_CR.mean(axis=1)
    half = stats.t.ppf((1 + LEVEL) / 2, repeats - 1) * ratio_CR.std(axis=1, ddof=1) / np.sqrt(repeats)
    return mean, mean - half, mean + half


def _first_zero(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Where a line through points first rises through 0; it starts below."""
    i = int(np.argmax(y >= 0))
    return float(x[i - 1] + (x[i] - x[i - 1]) * -y[i - 1] / (y[i] - y[i - 1]))


def _last_zero(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Where a line through points last rises through 0; it ends above."""
    return -_first_zero(-x[::-1], -y[::-1])
