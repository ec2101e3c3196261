"""What a model knows by heart: training passages that can be got out of it, and how much of what it writes is copied.

Both are worth nothing without their control on held-out text: boiler-plate can be continued, and common phrases
coincide, without any memory of the place.

Shapes: n training examples, S samples, L tokens, N n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossover.data import tokenizer
from crossover.decoding import Generation, generate
from crossover.model.transformer import Transformer

Tokens = NDArray[np.integer]
ROWS_AT_ONCE = 1 << 10
"""Training examples whose n-grams are hashed at once."""
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(64 - 22)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


class Extraction(NamedTuple):
    """Passages continued by heart."""

    exact: float
    """Share of passages whose second half comes out to the last token (Carlini et al. 2023, arXiv 2202.07646)."""
    tokens: float
    """Share of the second halves' tokens that are right at their place."""
    passages: int
    """How many were asked; fewer than wanted where texts are cut inside characters or end early."""


def extraction(model: Transformer, examples_nL: Tokens, wanted: int) -> Extraction:
    """Show the first half of passages and let the model write the second, taking the likeliest token each time.

    Args:
        model: of either family.
        examples_nL: passages, evenly spaced ones of which are asked; memory-mapped will do.
        wanted: how many passages.
    """
    half = examples_nL.shape[1] // 2
    passages = _plain_text(examples_nL, half, wanted)
    requests = [Generation(prompt=bytes(row[:half].tolist()).decode(), max_tokens=half) for row in passages]
    right = np.zeros((len(requests), half), dtype=np.bool_)
    for place, (row, completion) in enumerate(zip(passages, generate(model, requests), strict=True)):
        written = completion.tokens[:half]
        right[place, : len(written)] = row[half : half + len(written)] == written
    if not len(right):
        return Extraction(float("nan"), float("nan"), 0)
    return Extraction(float(right.all(axis=1).mean()), float(right.mean()), len(right))


def _plain_text(examples_nL: Tokens, half: int, wanted: int) -> list[Tokens]:
    """Evenly spaced examples without special tokens, whose first half is whole characters."""
    step = max(1, len(examples_nL) // (8 * max(1, wanted)))
    candidates = []
    for row in np.asarray(examples_nL[::step]):
        if (row[: 2 * half] < tokenizer.BOS).all() and _is_text(row[:half]):
            candidates.append(row[: 2 * half])
    places = np.linspace(0, len(candidates) - 1, min(wanted, len(candidates))).astype(int)
    return [candidates[place] for place in places]


def _is_text(tokens_L: Tokens) -> bool:
    try:
        bytes(tokens_L.tolist()).decode()
    except UnicodeDecodeError:
        return False
    return True


def overlap(texts: Sequence[Tokens], examples_nL: Tokens, n: int) -> float:
    """Share of the texts' n-grams that occur in the examples; NaN when no text is as long.

    The examples are streamed: memory is bounded by the texts. N-grams are compared by 64-bit hashes: with Q of them
    against T training tokens, one is taken for another with probability Q T / 2^64, below 10^-6 for Q = 10^4 and
    T = 10^9. No n-gram spans two examples, for no arm ever saw such a one.

    Args:
        texts: tokens of each.
        examples_nL: training examples; memory-mapped will do.
        n: length of an n-gram, a power of two.
    """
    if n < 1 or n & (n - 1):
        raise ValueError(f"n must be a power of two, found {n}")
    nothing = np.empty(0, dtype=np.uint64)
    wanted_N = np.concatenate([nothing, *(ngram_hashes(np.asarray(text)[None], n).ravel() for text in texts)])
    if not wanted_N.size:
        return float("nan")
    keys, counts = np.unique(wanted_N, return_counts=True)
    found = np.zeros(len(keys), dtype=np.bool_)
    likely = np.zeros(1 << 22, dtype=np.bool_)  # by a hash's first bits: most n-grams need no further look
    likely[keys >> _SHIFT] = True
    for start in range(0, len(examples_nL), ROWS_AT_ONCE):
        hashes = ngram_hashes(np.asarray(examples_nL[start : start + ROWS_AT_ONCE]), n).ravel()
        hashes = hashes[likely[hashes >> _SHIFT]]
        place = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
        found[place[keys[place] == hashes]] = True
    return float(counts[found].sum() / counts.sum())


def ngram_hashes(tokens_SL: Tokens, n: int) -> NDArray[np.uint64]:
    """A hash of each n-gram, (S, L - n + 1): that of two halves, mixed, for n a power of two."""
    hashes = (tokens_SL.astype(np.uint64) + np.uint64(1)) * _ODD
    width = 1
    while width < n:
        if hashes.shape[1] <= width:
            return np.empty((len(tokens_SL), 0), dtype=np.uint64)
        hashes = hashes[:, :-width] * _ODD + (hashes[:, width:] ^ (hashes[:, width:] >> np.uint64(29)))
        hashes = (hashes ^ (hashes >> np.uint64(31))) * _MIX
        width *= 2
    return hashes
