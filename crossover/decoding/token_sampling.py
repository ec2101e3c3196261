"""Sampling tokens from logits in float64: float32 Gumbel noise lowers the effective temperature (arXiv 2409.02908).

Shapes: P positions, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def log_softmax(logits_PV: Floats) -> Floats:
    """Log-probabilities along the last axis; -inf stays -inf."""
    shifted = logits_PV - logits_PV.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def choose(
    logits_PV: Floats, temperature: float, top_p: float, draw: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Sample a token for each position.

    Args:
        logits_PV: -inf for tokens that must not be sampled.
        temperature: 0 is greedy.
        top_p: sample among the most likely tokens that hold this much probability.
        draw: the request's random generator.

    Returns:
        Token ids (P,), and their log-probabilities (P,) in nats at temperature 1.
    """
    logp_PV = log_softmax(logits_PV)
    if temperature == 0:
        tokens_P = logp_PV.argmax(axis=-1)
    else:
        scaled_PV = log_softmax(_nucleus(logp_PV / temperature, top_p))
        tokens_P = (scaled_PV + draw.gumbel(size=scaled_PV.shape)).argmax(axis=-1)
    return tokens_P, np.take_along_axis(logp_PV, tokens_P[:, None], axis=-1)[:, 0]


def _nucleus(logits_PV: Floats, top_p: float) -> Floats:
    """Logits with -inf outside the smallest set of most likely tokens that holds `top_p` of the probability."""
    if top_p >= 1:
        return logits_PV
    order_PV = np.argsort(-logits_PV, axis=-1, kind="stable")
    probability_PV = np.exp(np.take_along_axis(log_softmax(logits_PV), order_PV, axis=-1))
    before_PV = np.cumsum(probability_PV, axis=-1) - probability_PV
    kept = np.full_like(logits_PV, -np.inf)
    np.put_along_axis(
        kept, order_PV, np.where(before_PV < top_p, np.take_along_axis(logits_PV, order_PV, axis=-1), -np.inf), axis=-1
    )
    return kept
