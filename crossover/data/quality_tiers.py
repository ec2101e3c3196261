"""Tiers of quality: training documents are scored, and cut into three tiers of equal size in bytes.

The score is a number that came with the document, or the perplexity of a byte trigram model of the training documents
themselves, in the way of CCNet (arXiv 1911.00359), whose head, middle and tail are thirds by perplexity: what is like
most of the corpus scores low, gibberish and other languages high. Each place of a text is scored by the counts of all
others (leave one out): otherwise a text whose trigrams are its own alone would predict itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crossover.data.cleaning.cleaning_counts import TierCounts
from crossover.data.cleaning.exact_duplicates import text_digest
from crossover.data.document_spool import SCORE, TIER, Document, DocumentSpool
from crossover.study.quality_config import QualityConfig

TIERS = ("high", "medium", "low")
"""From the best scores to the worst; of equal size in bytes."""
_ORDERS = (3, 2, 1)
_WEIGHTS = (0.6, 0.25, 0.1)
"""Of trigrams, bigrams and single bytes; what is left is uniform."""
_DECIMALS = 6
"""Scores are rounded, so that the last bits of a logarithm decide no tier."""
_BATCH_BYTES = 1 << 20


class ByteTrigrams:
    """An interpolated trigram model of bytes; 130 MB, whatever it is trained on."""

    def __init__(self) -> None:
        self._counts = {order: np.zeros(256**order, dtype=np.uint64) for order in _ORDERS}
        self._pending = bytearray()

    def add(self, text: str) -> None:
        """Count a text."""
        self._pending += text.encode() + b"\n"
        if len(self._pending) >= _BATCH_BYTES:
            self._count()

    def bits_per_byte(self, text: str) -> float:
        """Mean bits of a byte of a text that was added; 8 for less than three bytes."""
        self._count()
        encoded = np.frombuffer(text.encode(), dtype=np.uint8)
        if len(encoded) < max(_ORDERS):
            return 8.0
        probability = np.full(len(encoded) - 2, (1 - sum(_WEIGHTS)) / 256)
        for order, weight in zip(_ORDERS, _WEIGHTS, strict=True):
            grams = _grams(encoded, order)[3 - order :]
            others = self._counts[order][grams].astype(np.float64) - 1
            contexts = self._contexts(grams, order) - 1
            probability += weight * np.divide(others, contexts, out=np.zeros_like(others), where=contexts > 0)
        return round(float(-np.log2(probability).mean()), _DECIMALS)

    def _contexts(self, grams: NDArray[np.int64], order: int) -> NDArray[np.float64]:
        """How often what stands before each gram's last byte stood anywhere."""
        if order == 1:
            return np.full(len(grams), float(self._counts[1].sum()))
        counts: NDArray[np.float64] = self._counts[order - 1][grams >> 8].astype(np.float64)
        return counts

    def _count(self) -> None:
        encoded = np.frombuffer(bytes(self._pending), dtype=np.uint8)
        for order in _ORDERS:
            np.add.at(self._counts[order], _grams(encoded, order), 1)
        self._pending.clear()


def _grams(encoded: NDArray[np.uint8], order: int) -> NDArray[np.int64]:
    """The number of each run of `order` bytes. Shape (bytes - order + 1,)."""
    wide = encoded.astype(np.int64)
    grams = wide[: max(0, len(wide) - order + 1)]
    for place in range(1, order):
        grams = (grams << 8) + wide[place : place + len(grams)]
    return grams


def select_tier(
    documents: Iterable[Document],
    config: QualityConfig,
    is_held_out: Callable[[Document], bool],
    counts: dict[str, TierCounts],
) -> Iterator[Document]:
    """Score the training documents and keep those of one tier, or all; held-out documents stay.

    Args:
        documents: of both sides; with the attribute `quality`, a number, where it is read from a column.
        config: the scorer and the tier.
        is_held_out: the side of a document.
        counts: tier to what is in it; updated.

    Yields:
        Documents in their order; those to train on have the attributes `quality` (the score) and `tier`.

    Raises:
        WorkspaceError: the scratch folder cannot be written, or the disk is full.
    """
    with DocumentSpool() as spool:
        model = ByteTrigrams() if config.scorer == "perplexity" else None
        for document in documents:
            spool.append(*document)
            if model and not is_held_out(document):
                model.add(document.text)
        training = [_facts(document, model) for document in spool if not is_held_out(document)]
        scores = np.asarray([score for score, _, _ in training])
        sizes = np.asarray([size for _, size, _ in training], dtype=np.int64)
        ties = np.asarray([tie for _, _, tie in training], dtype=np.uint64)
        higher_is_good = config.scorer == "column" and config.order == "higher"
        tiers = tiers_of(-scores if higher_is_good else scores, sizes, ties)
        _count_tiers(scores, sizes, tiers, counts)
        place = 0
        for document in spool:
            if is_held_out(document):
                yield document
                continue
            tier, score = TIERS[tiers[place]], f"{scores[place]:.{_DECIMALS}f}"
            place += 1
            if config.tier in ("all", tier):
                yield document._replace(attributes={SCORE: score, **document.attributes, TIER: tier})


def _facts(document: Document, model: ByteTrigrams | None) -> tuple[float, int, int]:
    """Score and bytes of a document, and its place among those of equal score: any, but not by source or date."""
    size = len(document.text.encode())
    if model:
        return model.bits_per_byte(document.text), size, 0
    return float(document.attributes[SCORE]), size, int.from_bytes(text_digest(document.text)[:8], "big")


def tiers_of(
    scores: NDArray[np.float64], sizes: NDArray[np.int64], ties: NDArray[np.uint64] | None = None
) -> NDArray[np.int64]:
    """The tier of each document, as an index into TIERS: thirds of all bytes in the order of the scores.

    Args:
        scores: lower is better. Shape (documents,).
        sizes: bytes. Shape (documents,).
        ties: of equal scores that with the lower one is the better, then that of the first document. Shape
            (documents,).
    """
    tiers = np.zeros(len(scores), dtype=np.int64)
    if len(scores):
        order = np.lexsort((scores,) if ties is None else (ties, scores))
        middles = np.cumsum(sizes[order]) - sizes[order] / 2
        tiers[order] = np.minimum(len(TIERS) - 1, (len(TIERS) * middles / sizes.sum()).astype(np.int64))
    return tiers


def most_tokens_of_tier(tokens: Sequence[int], sizes: Sequence[int]) -> int:
    """The most tokens that one tier of some documents may hold, whatever their scores.

    It is a third of the bytes, and half of a document more at either end; here those with the most tokens a byte.

    Args:
        tokens: of each document.
        sizes: bytes of each document.
    """
    tokens_D, sizes_D = np.asarray(tokens, dtype=np.int64), np.asarray(sizes, dtype=np.int64)
    if not len(sizes_D):
        return 0
    order = np.argsort(-tokens_D / sizes_D)
    count = np.searchsorted(np.cumsum(sizes_D[order]), sizes_D.sum() / len(TIERS) + sizes_D.max()) + 1
    return int(tokens_D[order[:count]].sum())


def _count_tiers(
    scores: NDArray[np.float64], sizes: NDArray[np.int64], tiers: NDArray[np.int64], counts: dict[str, TierCounts]
) -> None:
    for index, name in enumerate(TIERS):
        own = tiers == index
        if own.any():
            counts[name] = TierCounts(
                documents=int(own.sum()),
                bytes=int(sizes[own].sum()),
                lowest=float(scores[own].min()),
                highest=float(scores[own].max()),
            )
