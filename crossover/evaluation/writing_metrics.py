"""Metrics of generated text: quality of samples and verbatim extraction, each beside its control on held-out text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossover.data.row_sample import Rows
from crossover.errors import StudyError
from crossover.evaluation.evaluation_records import Measurement
from crossover.evaluation.memorisation import extraction, overlap
from crossover.evaluation.sample_quality import ScoredTexts, matched_held_out, quality, score_texts, write_samples
from crossover.evaluation.scored_forward import device_of
from crossover.metric_catalogue import metric_of
from crossover.model.transformer import Transformer
from crossover.study.study_parts import EvaluationConfig
from crossover.training.checkpoint import load_checkpoint

LONGEST_NGRAM = 32
"""Tokens of the n-grams that are compared with the training examples; half an example where that is shorter."""

Value = tuple[str, float, int]
"""A metric's name, its value, and the number of samples or passages behind it."""


def measure_writing(
    model: Transformer, train_nL: Rows, held_out_nL: NDArray[np.uint16], config: EvaluationConfig
) -> list[Measurement]:
    """Measure the samples of one model and its extraction of training text.

    Args:
        model: of either family.
        train_nL: the examples that it was trained on, token ids.
        held_out_nL: examples that it was not trained on, token ids.
        config: number of samples and passages, and the scorer.

    Returns:
        The measurements; those without a finite value are left out.

    Raises:
        StudyError: the scorer is a diffusion model.
        CheckpointError: the scorer is not a checkpoint.
    """
    values: list[Value] = []
    if config.passages:
        values += _extraction(model, train_nL, held_out_nL, config.passages)
    if config.samples:
        values += _samples(model, train_nL, held_out_nL, config)
    return [_measurement(name, value, draws) for name, value, draws in values if math.isfinite(value)]


def _extraction(model: Transformer, train_nL: Rows, held_out_nL: NDArray[np.uint16], passages: int) -> Iterator[Value]:
    for prefix, examples in (("", train_nL), ("heldout_", held_out_nL)):
        result = extraction(model, examples, passages)
        yield f"{prefix}extraction_rate", result.exact, result.passages
        yield f"{prefix}extraction_tokens", result.tokens, result.passages


def _samples(
    model: Transformer, train_nL: Rows, held_out_nL: NDArray[np.uint16], config: EvaluationConfig
) -> Iterator[Value]:
    length = train_nL.shape[1]
    samples = write_samples(model, config.samples, length)
    n = min(LONGEST_NGRAM, 2 ** int(math.log2(max(1, length // 2))))
    for prefix, texts in (("sample", samples), ("heldout", matched_held_out(samples, held_out_nL, model.tokenizer))):
        result = quality(texts)
        yield f"{prefix}_entropy", result.entropy, len(texts)
        yield f"{prefix}_distinct_4", result.distinct[3], len(texts)
        yield f"{prefix}_repetition", result.repetition, len(texts)
        yield f"{prefix}_collapsed", result.collapsed, len(texts)
        yield f"{prefix}_copied_{n}", overlap(texts, train_nL, n), len(texts)
    if config.scorer:
        scored = _scored(model, config.scorer, samples)
        yield "sample_perplexity", scored.perplexity, len(samples)
        if scored.bits_per_byte is not None:
            yield "sample_bpb", scored.bits_per_byte, len(samples)


def _measurement(name: str, value: float, draws: int) -> Measurement:
    metric = metric_of(name)
    assert metric.direction != "none"  # noqa: S101 - holds for every metric of generated text
    return Measurement(
        metric=name,
        value=value,
        stderr=None,
        unit=metric.unit,
        direction=metric.direction,
        estimator="none",
        draws=draws,
    )


def _scored(writer: Transformer, scorer: str, texts: list[NDArray[np.integer]]) -> ScoredTexts:
    model, _ = load_checkpoint(Path(scorer), device=str(device_of(writer)))
    try:
        return score_texts(model, texts, writer)
    except ValueError as error:
        raise StudyError(
            "evaluation.bad-scorer",
            field="evaluation.scorer",
            problem=str(error),
            remedy="give the checkpoint of an AR model of another study",
        ) from error
