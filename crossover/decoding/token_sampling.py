"""Sampling tokens from logits in float64: float32 Gumbel noise lowers the effective temperature (arXiv 2409.02908).

Shapes: P positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossover.decoding.generation_request import Sampling, TokenLogprob

Floats = NDArray[np.float64]
GREEDY_BELOW = 1e-5
"""Temperatures below it are greedy: logits divided by them would overflow."""
Tokens = NDArray[np.int64]


def log_softmax(logits_PV: Floats) -> Floats:
    """Log-probabilities along the last axis; -inf stays -inf."""
    shifted = logits_PV - logits_PV.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def choose(logits_PV: Floats, sampling: Sampling, draw: np.random.Generator) -> Tokens:
    """Sample a token for each position.

    Args:
        logits_PV: -inf for tokens that must not be sampled.
        sampling: temperature, top_k, top_p and min_p are applied.
        draw: the request's random generator.

    Returns:
        Token ids (P,).
    """
    chosen: Tokens
    if sampling.temperature < GREEDY_BELOW:
        chosen = logits_PV.argmax(axis=-1)
        return chosen
    kept_PV = _truncated(log_softmax(logits_PV / sampling.temperature), sampling)
    chosen = (kept_PV + draw.gumbel(size=kept_PV.shape)).argmax(axis=-1)
    return chosen


def _truncated(logp_PV: Floats, sampling: Sampling) -> Floats:
    """-inf outside the tokens that top_k, top_p and min_p keep; ties at the edge of top_k go to the lower token id."""
    if 0 < sampling.top_k < logp_PV.shape[-1]:
        least = np.argsort(-logp_PV, axis=-1, kind="stable")[:, sampling.top_k :]
        logp_PV = logp_PV.copy()
        np.put_along_axis(logp_PV, least, -np.inf, axis=-1)
    if sampling.top_p < 1:
        logp_PV = _nucleus(logp_PV, sampling.top_p)
    if sampling.min_p > 0:
        bound = logp_PV.max(axis=-1, keepdims=True) + np.log(sampling.min_p)
        logp_PV = np.where(logp_PV >= bound, logp_PV, -np.inf)
    return logp_PV


def _nucleus(logits_PV: Floats, top_p: float) -> Floats:
    """Logits with -inf outside the smallest set of most likely tokens that holds `top_p` of the probability."""
    order_PV = np.argsort(-logits_PV, axis=-1, kind="stable")
    probability_PV = np.exp(np.take_along_axis(log_softmax(logits_PV), order_PV, axis=-1))
    before_PV = np.cumsum(probability_PV, axis=-1) - probability_PV
    kept = np.full_like(logits_PV, -np.inf)
    np.put_along_axis(
        kept, order_PV, np.where(before_PV < top_p, np.take_along_axis(logits_PV, order_PV, axis=-1), -np.inf), axis=-1
    )
    return kept


class LogitChanges:
    """The penalties and biases of one request.

    Args:
        sampling: the request's.
        given: tokens of the prompt (and suffix), which `repetition_penalty` counts.
        vocabulary: number of tokens V.
    """

    def __init__(self, sampling: Sampling, given: Tokens, vocabulary: int) -> None:
        self._sampling = sampling
        self._counts_V = np.zeros(vocabulary, dtype=np.int64)
        self._bias = [(token, value) for token, value in sampling.logit_bias.items()]
        self._given_V = np.zeros(vocabulary, dtype=np.bool_)
        self._given_V[given[given < vocabulary]] = True
        self._penalties = (
            sampling.repetition_penalty != 1 or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        )

    def count(self, token: int, by: int = 1) -> None:
        """Note that the completion has a token, or with -1 that it has lost it."""
        self._counts_V[token] += by

    def apply(self, logits_PV: Floats) -> None:
        """Change logits in place."""
        sampling = self._sampling
        for token, value in self._bias:
            logits_PV[:, token] = -np.inf if value <= -100 else logits_PV[:, token] + value
        if not self._penalties:
            return
        seen = self._counts_V > 0
        if sampling.repetition_penalty != 1:
            repeated = seen | self._given_V
            chosen = logits_PV[:, repeated]
            factor = sampling.repetition_penalty
            logits_PV[:, repeated] = np.where(chosen > 0, chosen / factor, chosen * factor)
        logits_PV -= sampling.presence_penalty * seen + sampling.frequency_penalty * self._counts_V


def logprobs_of(tokens: Sequence[int], logp_PV: Floats, count: int) -> list[TokenLogprob]:
    """The log-probabilities of tokens, one for each position, and of the `count` most likely ones."""
    result = []
    for token, row in zip(tokens, logp_PV, strict=True):
        best = np.argsort(-row, kind="stable")[:count] if count else ()
        top = tuple((int(other), float(row[other])) for other in best if np.isfinite(row[other]))
        result.append(TokenLogprob(int(token), float(row[token]), top))
    return result
