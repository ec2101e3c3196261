"""Quality of generated samples: entropy, distinct n-grams, repetition, and perplexity under an independent model.

Read the metrics together: low-entropy text is likely under any scorer (arXiv 2409.02908), so perplexity needs entropy
beside it, and entropy depends on the amount of text, so it needs that of held-out text of the same size beside it.

Shapes: L tokens of a sample, n held-out examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from crossover.decoding import Generation
from crossover.decoding.generate_text import generate
from crossover.evaluation.continuation_scoring import score_items
from crossover.evaluation.tasks import Continuation
from crossover.model.transformer import Transformer
from crossover.tokenization.tokenizer import Tokenizer

Tokens = NDArray[np.integer]
REPEATED = 8
"""Length of the n-grams that repetition counts, in tokens."""


class Quality(NamedTuple):
    """Statistics of a set of texts."""

    entropy: float
    """Unigram entropy, bits per token."""
    distinct: tuple[float, ...]
    """Number of distinct n-grams over number of n-grams, for n = 1..4 (Li et al. 2016, arXiv 1510.03055)."""
    repetition: float
    """Fraction of 8-grams that occurred earlier in the same text; 0 where no text has 8 tokens."""
    collapsed: float
    """Fraction of texts in which a run of one token is longer than half the text."""


def write_samples(model: Transformer, count: int, length: int, seed: int = 0) -> list[Tokens]:
    """Unconditional samples at temperature 1, each ended by EOS or at `length` tokens.

    A DLM commits one token per forward pass at a random position: committing the most confident position first would
    sharpen the distribution that it samples from.

    Args:
        model: of either family.
        count: number of samples.
        length: largest number of tokens of a sample.
        seed: of the first sample; sample i depends on seed + i only.

    Returns:
        Token ids of each sample, shape (L,), without EOS.
    """
    requests = [
        Generation(prompt="", max_tokens=length, temperature=1.0, seed=seed + i, order="random") for i in range(count)
    ]
    return [np.asarray(completion.tokens, dtype=np.int64) for completion in generate(model, requests)]


def quality(texts: Sequence[Tokens]) -> Quality:
    """Statistics of texts (token ids of each); NaN where there is no token."""
    tokens = np.concatenate([*texts, np.empty(0, dtype=np.int64)]).astype(np.int64)
    if not tokens.size:
        return Quality(math.nan, (math.nan,) * 4, math.nan, math.nan)
    share = np.bincount(tokens) / tokens.size
    share = share[share > 0]
    return Quality(
        entropy=float(-(share * np.log2(share)).sum()),
        distinct=tuple(_distinct([ngram for text in texts for ngram in _ngrams(text, n)]) for n in range(1, 5)),
        repetition=_repetition(texts),
        collapsed=sum(2 * _longest_run(text) > len(text) > 1 for text in texts) / len(texts),
    )


def _ngrams(text: Tokens, n: int) -> list[bytes]:
    tokens = np.ascontiguousarray(text, dtype=np.int64)
    return [tokens[i : i + n].tobytes() for i in range(len(tokens) - n + 1)]


def _distinct(ngrams: list[bytes]) -> float:
    return len(set(ngrams)) / len(ngrams) if ngrams else math.nan


def _repetition(texts: Sequence[Tokens]) -> float:
    ngrams = [_ngrams(text, REPEATED) for text in texts]
    total = sum(len(of_text) for of_text in ngrams)
    return sum(len(of_text) - len(set(of_text)) for of_text in ngrams) / total if total else 0.0


def _longest_run(text: Tokens) -> int:
    """Length of the longest run of one token; 0 for an empty text."""
    edges = np.flatnonzero(np.r_[True, np.diff(text) != 0, True])
    return int(np.diff(edges).max(initial=0)) if len(text) else 0


def matched_held_out(texts: Sequence[Tokens], held_out_nL: Tokens, tokenizer: Tokenizer) -> list[Tokens]:
    """Held-out texts of the same lengths as generated ones, the control of their statistics.

    Args:
        texts: token ids of generated texts, none longer than a held-out example.
        held_out_nL: held-out examples, in random order.
        tokenizer: of all of them.

    Returns:
        One held-out text per generated text; fewer where too few examples are free of special tokens.
    """
    longest = max((len(text) for text in texts), default=0)
    plain = (row for row in held_out_nL if not tokenizer.is_special(row[:longest]).any())
    return [np.asarray(row[: len(text)]).astype(np.int64) for text, row in zip(texts, plain, strict=False)]


class ScoredTexts(NamedTuple):
    """What texts are worth to an AR model that did not write them."""

    perplexity: float
    """exp of the mean NLL per token of the scorer; NaN where there is no token."""
    bits_per_byte: float | None
    """Where the scorer has another tokenizer than the writer, whose texts are then encoded anew; NaN where there is no
    text. None where both have the same."""


def score_texts(scorer: Transformer, texts: Sequence[Tokens], writer: Transformer) -> ScoredTexts:
    """Generative perplexity of texts.

    Args:
        scorer: the AR model that scores.
        texts: token ids of each text, of the writer.
        writer: the model that generated them.

    Raises:
        ValueError: the scorer is a diffusion model, which gives only a bound, or has the writer's weights.
    """
    if not scorer.causal:
        raise ValueError("an independent scorer must be autoregressive: a diffusion model only bounds the likelihood")
    same = scorer.tokenizer.digest == writer.tokenizer.digest
    if same and writer.causal and torch.equal(scorer.lm_head.weight.cpu(), writer.lm_head.weight.cpu()):
        raise ValueError("an independent scorer must not be the model that generated the texts")
    if not same:
        texts = [scorer.tokenizer.encode(writer.tokenizer.decode(text)) for text in texts]
    longest = scorer.config.max_length
    kept = [text[:longest] for text in texts if len(text)]
    items = [[Continuation((), tuple(text.tolist()))] for text in kept]
    scored = [score for item in score_items(scorer, items, draws=1) for score in item.scored]
    nll, tokens = sum(score.nll for score in scored), sum(score.tokens for score in scored)
    if not tokens:
        return ScoredTexts(math.nan, None if same else math.nan)
    size = sum(map(scorer.tokenizer.count_bytes, kept))
    return ScoredTexts(math.exp(nll / tokens), None if same else nll / math.log(2) / size)
