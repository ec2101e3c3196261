"""How good is what a model writes? Entropy, variety, repetition, and how likely an independent model finds it.

No figure stands alone: text of low entropy is likely to any scorer (arXiv 2409.02908), hence perplexity goes with
entropy, and entropy with that of held-out text of the same size, on which it depends.

Shapes: L tokens of a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crossover.data import tokenizer
from crossover.decoding import Generation, generate
from crossover.evaluation.continuation_scoring import score_items
from crossover.evaluation.tasks import Continuation
from crossover.model.transformer import Transformer

Tokens = NDArray[np.integer]
REPEATED = 8
"""Tokens of a phrase that counts as repeated."""


class Quality(NamedTuple):
    """Of a set of texts."""

    entropy: float
    """Of single tokens, bits a token."""
    distinct: tuple[float, ...]
    """Distinct n-grams over all n-grams, n = 1..4 (Li et al. 2016, arXiv 1510.03055)."""
    repetition: float
    """Share of the phrases of 8 tokens that stood in the same text before; 0 where no text is so long."""
    collapsed: float
    """Share of texts that are one token over and over for more than half their length."""


def write_samples(model: Transformer, count: int, length: int, seed: int = 0) -> list[Tokens]:
    """Texts written from nothing at temperature 1, each ended by EOS or at `length` tokens.

    A DLM commits one token a forward pass, at a random place: to commit where it is surest would sharpen what it
    samples from. Each text depends on its own seed only, not on the others.
    """
    requests = [
        Generation(prompt="", max_tokens=length, temperature=1.0, seed=seed + place, remasking="random")
        for place in range(count)
    ]
    return [np.asarray(completion.tokens, dtype=np.int64) for completion in generate(model, requests)]


def quality(texts: Sequence[Tokens]) -> Quality:
    """Entropy, variety and repetition of texts; NaN where there is no token."""
    every = np.concatenate([*texts, np.empty(0, dtype=np.int64)]).astype(np.int64)
    if not every.size:
        return Quality(math.nan, (math.nan,) * 4, math.nan, math.nan)
    share = np.bincount(every) / every.size
    share = share[share > 0]
    return Quality(
        entropy=float(-(share * np.log2(share)).sum()),
        distinct=tuple(_distinct([phrase for text in texts for phrase in _phrases(text, n)]) for n in range(1, 5)),
        repetition=_repetition(texts),
        collapsed=sum(2 * _longest_run(text) > len(text) > 1 for text in texts) / len(texts),
    )


def _phrases(text: Tokens, n: int) -> list[bytes]:
    tokens = np.ascontiguousarray(text, dtype=np.int64)
    return [tokens[place : place + n].tobytes() for place in range(len(tokens) - n + 1)]


def _distinct(phrases: list[bytes]) -> float:
    return len(set(phrases)) / len(phrases) if phrases else math.nan


def _repetition(texts: Sequence[Tokens]) -> float:
    phrases = [_phrases(text, REPEATED) for text in texts]
    total = sum(len(part) for part in phrases)
    return sum(len(part) - len(set(part)) for part in phrases) / total if total else 0.0


def _longest_run(text: Tokens) -> int:
    """Tokens of the longest run of one token; 0 in an empty text."""
    edges = np.flatnonzero(np.r_[True, np.diff(text) != 0, True])
    return int(np.diff(edges).max(initial=0)) if len(text) else 0


def reference(texts: Sequence[Tokens], held_out_nL: Tokens) -> list[Tokens]:
    """Held-out text of the same lengths as these texts, to be measured beside them.

    Args:
        texts: what a model wrote, none longer than a held-out example.
        held_out_nL: held-out examples, in random order.

    Returns:
        One for each text; fewer where held-out examples without special tokens run out.
    """
    longest = max((len(text) for text in texts), default=0)
    plain = (row for row in held_out_nL if (row[:longest] < tokenizer.BOS).all())
    return [np.asarray(row[: len(text)]).astype(np.int64) for text, row in zip(texts, plain, strict=False)]


def perplexity(scorer: Transformer, texts: Sequence[Tokens], writer: Transformer) -> float:
    """Exp of the mean NLL a token under an AR model that is not the writer; NaN where there is no token.

    Raises:
        ValueError: the scorer is a diffusion model, which gives a bound only, or has the writer's own weights.
    """
    if not scorer.causal:
        raise ValueError("an independent scorer must be autoregressive: a diffusion model bounds the likelihood only")
    if writer.causal and torch.equal(scorer.lm_head.weight.cpu(), writer.lm_head.weight.cpu()):
        raise ValueError("an independent scorer must not be the model that wrote the texts")
    longest = scorer.config.max_length
    items = [[Continuation((), tuple(text[:longest].tolist()))] for text in texts if len(text)]
    found = [one for item in score_items(scorer, items, draws=1) for one in item.scored]
    tokens = sum(one.tokens for one in found)
    return math.exp(sum(one.nll for one in found) / tokens) if tokens else math.nan
