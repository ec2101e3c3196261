"""Examples to time steps and evaluations with: of documents like the study's, for their attention masks cost time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossover.data.row_sample import Rows
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import BYTES

PLACEHOLDERS = 256
"""Token ids below it stand for text; that of the end of a document is above."""


@dataclass(frozen=True)
class TimedExamples:
    """Rows that look like a study's. N rows of L tokens."""

    rows_NL: NDArray[np.unsignedinteger]
    document_end: int | None
    """Id of the token that ends a document, where attention stays within the documents of a row."""
    basis: str
    """What they are, for people."""


def whole_examples(study: StudyConfig) -> TimedExamples:
    """Random rows of one document each."""
    return TimedExamples(_random(study, _rows_needed(study)), None, "examples of one document each")


def packed_examples(study: StudyConfig, lengths: Sequence[int]) -> TimedExamples:
    """Random rows that are packed of documents of the given lengths, as the study packs its own.

    Args:
        study: the study.
        lengths: tokens of each document, its end included; in the order of the corpus.
    """
    length = study.data.sequence_length
    tokens_D = np.asarray(lengths, dtype=np.int64)
    if study.data.attention != "document" or not len(tokens_D):
        return whole_examples(study)
    whole = 0
    if study.data.packing == "document":  # examples inside of documents, and examples that are joined of the rest
        whole = int((tokens_D // length).sum())
        tokens_D = tokens_D % length
        tokens_D = tokens_D[tokens_D > 0]
    joined = int(tokens_D.sum()) // length
    if not whole + joined:
        return whole_examples(study)
    rng = np.random.default_rng(0)
    rows_NL = _random(study, _rows_needed(study))
    ends_JL = np.zeros((joined, length), dtype=bool)
    places = tokens_D.cumsum() - 1
    ends_JL.reshape(-1)[places[places < joined * length]] = True
    chosen_N = rng.integers(0, whole + joined, len(rows_NL))
    for row, choice in enumerate(chosen_N):
        if choice < joined:
            rows_NL[row, ends_JL[choice]] = BYTES.eos
    return TimedExamples(rows_NL, BYTES.eos, "examples packed of documents of the corpus's lengths")


def dataset_examples(study: StudyConfig, rows_NL: Rows, end: int | None) -> TimedExamples:
    """Rows of the study's own dataset, from all over it.

    Args:
        study: the study.
        rows_NL: its training examples.
        end: `document_end` of its manifest.
    """
    chosen_N = np.sort(np.random.default_rng(0).integers(0, len(rows_NL), _rows_needed(study)))
    return TimedExamples(np.asarray(rows_NL[chosen_N]), end, "examples of the dataset")


def _rows_needed(study: StudyConfig) -> int:
    return 4 * max(study.training_of(arm).batch_size for arm in study.arms)


def _random(study: StudyConfig, rows: int) -> NDArray[np.uint16]:
    size = (rows, study.data.sequence_length)
    return np.random.default_rng(0).integers(0, PLACEHOLDERS, size, dtype=np.uint16)
