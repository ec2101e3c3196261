"""Probes: how good is what a model writes by itself, and what of the training text does it know by heart?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crossover.errors import StudyError
from crossover.evaluation.evaluation_records import Measurement
from crossover.evaluation.memorisation import extraction, overlap
from crossover.evaluation.sample_quality import perplexity, quality, reference, write_samples
from crossover.model.transformer import Transformer
from crossover.study.study_parts import EvaluationConfig
from crossover.training.checkpoint import load_checkpoint

Direction = Literal["lower", "higher"]
LONGEST_NGRAM = 32


def measure_writing(
    model: Transformer, train_nL: NDArray[np.uint16], held_out_nL: NDArray[np.uint16], config: EvaluationConfig
) -> list[Measurement]:
    """Samples and extraction of one model, each with its control on held-out text.

    Args:
        model: of either family.
        train_nL: the examples that it was trained on.
        held_out_nL: examples that it was not.
        config: how many samples and passages, and the scorer.

    Raises:
        StudyError: the scorer is a diffusion model.
        CheckpointError: the scorer is no checkpoint.
    """
    found: dict[str, tuple[float, str, Direction, int]] = {}
    if config.passages:
        for name, examples in (("", train_nL), ("heldout_", held_out_nL)):
            known = extraction(model, examples, config.passages)
            found[f"{name}extraction_rate"] = (known.exact, "fraction", "lower", known.passages)
            found[f"{name}extraction_tokens"] = (known.tokens, "fraction", "lower", known.passages)
    if config.samples:
        length = train_nL.shape[1]
        texts = write_samples(model, config.samples, length)
        n = min(LONGEST_NGRAM, 2 ** int(math.log2(max(1, length // 2))))
        for name, rows in (("sample", texts), ("heldout", reference(texts, held_out_nL))):
            whole = quality(rows)
            found[f"{name}_entropy"] = (whole.entropy, "bits/token", "higher", len(rows))
            found[f"{name}_distinct_4"] = (whole.distinct[3], "fraction", "higher", len(rows))
            found[f"{name}_repetition"] = (whole.repetition, "fraction", "lower", len(rows))
            found[f"{name}_collapsed"] = (whole.collapsed, "fraction", "lower", len(rows))
            found[f"{name}_copied_{n}"] = (overlap(rows, train_nL, n), "fraction", "lower", len(rows))
        if config.scorer:
            found["sample_perplexity"] = (_perplexity(model, config.scorer, texts), "perplexity", "lower", len(texts))
    return [
        Measurement(
            metric=name, value=value, stderr=None, unit=unit, direction=direction, estimator="none", draws=draws
        )
        for name, (value, unit, direction, draws) in found.items()
        if math.isfinite(value)
    ]


def _perplexity(writer: Transformer, scorer: str, texts: list[NDArray[np.integer]]) -> float:
    model, _ = load_checkpoint(Path(scorer))
    try:
        return perplexity(model, texts, writer)
    except ValueError as error:
        raise StudyError(
            "evaluation.scorer",
            field="evaluation.scorer",
            problem=str(error),
            remedy="name another study's AR checkpoint",
        ) from error
