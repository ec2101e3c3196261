"""Memorisation: extraction of training passages, and n-gram overlap of generated text with the training examples.

Both need their control on held-out text: boilerplate can be continued, and common n-grams coincide, without
memorisation.

Shapes: n training examples, S samples, L tokens, N n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossover.data.row_sample import RowSample
from crossover.decoding import Generation
from crossover.decoding.generate_text import generate
from crossover.model.transformer import Transformer
from crossover.tokenization.tokenizer import Tokenizer

Tokens = NDArray[np.integer]
ROWS_AT_ONCE = 1 << 10
"""Training examples whose n-grams are hashed in one batch."""
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(64 - 22)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


class Extraction(NamedTuple):
    """Extraction of passages: the first half is the prompt, the second half the reference."""

    exact: float
    """Fraction of passages whose second half is reproduced exactly (Carlini et al. 2023, arXiv 2202.07646)."""
    tokens: float
    """Fraction of the second halves' tokens that are reproduced at their position."""
    passages: int
    """Number of passages; fewer than requested where examples cut characters or contain special tokens."""


def extraction(model: Transformer, examples_nL: Tokens | RowSample, passages: int) -> Extraction:
    """Prompt with the first half of passages, decode the second half greedily, and compare.

    Args:
        model: of either family.
        examples_nL: token ids, possibly memory-mapped; evenly spaced examples are used.
        passages: number of passages.

    Returns:
        The fractions; NaN where no example can serve as a passage.
    """
    half = examples_nL.shape[1] // 2
    rows = _plain_text(model.tokenizer, examples_nL, half, passages)
    requests = [Generation(prompt=tuple(row[:half].tolist()), max_tokens=half) for row in rows]
    correct = np.zeros((len(requests), half), dtype=np.bool_)
    for i, (row, completion) in enumerate(zip(rows, generate(model, requests), strict=True)):
        generated = completion.tokens[:half]
        correct[i, : len(generated)] = row[half : half + len(generated)] == generated
    if not len(correct):
        return Extraction(float("nan"), float("nan"), 0)
    return Extraction(float(correct.all(axis=1).mean()), float(correct.mean()), len(correct))


def _plain_text(tokenizer: Tokenizer, examples_nL: Tokens | RowSample, half: int, passages: int) -> list[Tokens]:
    """Evenly spaced examples without special tokens whose first half is valid UTF-8."""
    stride = max(1, len(examples_nL) // (8 * max(1, passages)))
    candidates = []
    for row in np.asarray(examples_nL[::stride]):
        if not tokenizer.is_special(row[: 2 * half]).any() and _is_text(tokenizer, row[:half]):
            candidates.append(row[: 2 * half])
    chosen = np.linspace(0, len(candidates) - 1, min(passages, len(candidates))).astype(int)
    return [candidates[i] for i in chosen]


def _is_text(tokenizer: Tokenizer, tokens_L: Tokens) -> bool:
    try:
        b"".join(map(tokenizer.token_bytes, tokens_L.tolist())).decode()
    except UnicodeDecodeError:
        return False
    return True


def overlap(texts: Sequence[Tokens], examples_nL: Tokens | RowSample, n: int) -> float:
    """Fraction of the texts' n-grams that occur in the examples; NaN when no text has n tokens.

    The examples are streamed, so that memory is bounded by the texts. N-grams are compared by 64-bit hashes: for Q
    n-grams and T training tokens the probability of a collision is at most Q T / 2^64, below 10^-6 for Q = 10^4 and
    T = 10^9. N-grams do not span two examples, since no model is trained across that boundary.

    Args:
        texts: token ids of each text.
        examples_nL: token ids of the training examples, possibly memory-mapped.
        n: length of an n-gram, a power of two.

    Raises:
        ValueError: n is not a power of two.
    """
    if n < 1 or n & (n - 1):
        raise ValueError(f"n must be a power of two, got {n}")
    nothing = np.empty(0, dtype=np.uint64)
    hashes_N = np.concatenate([nothing, *(ngram_hashes(np.asarray(text)[None], n).ravel() for text in texts)])
    if not hashes_N.size:
        return float("nan")
    keys, counts = np.unique(hashes_N, return_counts=True)
    occurs = np.zeros(len(keys), dtype=np.bool_)
    prefix_occurs = np.zeros(1 << 22, dtype=np.bool_)  # by a hash's first 22 bits; rules out most n-grams cheaply
    prefix_occurs[keys >> _SHIFT] = True
    for start in range(0, len(examples_nL), ROWS_AT_ONCE):
        hashes = ngram_hashes(np.asarray(examples_nL[start : start + ROWS_AT_ONCE]), n).ravel()
        hashes = hashes[prefix_occurs[hashes >> _SHIFT]]
        index = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
        occurs[index[keys[index] == hashes]] = True
    return float(counts[occurs].sum() / counts.sum())


def ngram_hashes(tokens_SL: Tokens, n: int) -> NDArray[np.uint64]:
    """64-bit hash of each n-gram, shape (S, L - n + 1), for n a power of two: the mixed hashes of its halves."""
    hashes = (tokens_SL.astype(np.uint64) + np.uint64(1)) * _ODD
    width = 1
    while width < n:
        if hashes.shape[1] <= width:
            return np.empty((len(tokens_SL), 0), dtype=np.uint64)
        hashes = hashes[:, :-width] * _ODD + (hashes[:, width:] ^ (hashes[:, width:] >> np.uint64(29)))
        hashes = (hashes ^ (hashes >> np.uint64(31))) * _MIX
        width *= 2
    return hashes
