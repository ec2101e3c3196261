"""What a dataset's manifest says of near-duplicates and of contamination, and the same in words."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

HELD_OUT = "held-out documents"
"""The targets of contamination that every study has; the others are the items of tasks, by the task's name."""
NAMES = 5
"""Examples that a manifest lists."""


class _Counts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NearCounts(_Counts):
    """Near-duplicates among the distinct documents."""

    mode: str = "off"
    """`data.deduplication.near`."""
    clusters: int = 0
    """Groups of two and more documents."""
    near_duplicates: int = 0
    """Documents that are not the first of their cluster."""
    dropped: int = 0
    held_out_in_training: int = 0
    """Held-out documents of which a near-duplicate is trained on."""
    examples: tuple[tuple[str, str], ...] = ()
    """Names of the first such documents, and of a training document of their cluster."""


class OverlapCounts(_Counts):
    """N-grams that the training documents share with the held-out documents or with the items of a task."""

    target: str
    """`held-out documents`, or the name of a task."""
    ngram: int
    texts: int
    """Held-out documents or items."""
    short_texts: int
    """Texts of fewer words than an n-gram, which are not compared."""
    unchecked_texts: int = 0
    """Texts with no n-gram to compare, or too few of a sample: nobody knows whether training documents hold them."""
    ngrams: int
    """Distinct n-grams of the texts."""
    common_ngrams: int
    """N-grams beside them that are left out because many of the texts hold them."""
    sampled: int = 1
    """One in so many n-grams is compared; `ngrams` and what follows count the compared ones."""
    ngrams_in_training: int
    """N-grams that the training documents hold."""
    texts_in_training: int
    """Texts of which the training documents hold at least the share `data.contamination.overlap`."""
    contaminated: int
    """Training documents that alone hold this share of one of the texts, or of whose n-grams this share is theirs."""
    dropped: int
    """Contaminated training documents that were left out; what training documents hold is counted without them."""
    examples: tuple[tuple[str, str], ...] = ()
    """Names of the first contaminated training documents, and of the text."""

    @model_serializer(mode="wrap")
    def _without_what_is_zero(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Datasets from before `unchecked_texts` keep their digests."""
        fields: dict[str, object] = dump(self)
        if not self.unchecked_texts:
            fields.pop("unchecked_texts", None)
        return fields


def overlap_lines(near: NearCounts, contamination: tuple[OverlapCounts, ...], held_out: int) -> Iterator[str]:
    """What both counts say, a sentence for each.

    Args:
        near: of near-duplicates.
        contamination: of n-grams.
        held_out: held-out documents.
    """
    if near.mode != "off":
        dropped = f", {near.dropped:,} dropped" if near.dropped else ""
        yield (
            f"{near.near_duplicates:,} near-duplicates in {near.clusters:,} clusters{dropped}; "
            f"{near.held_out_in_training:,} of {held_out:,} held-out documents have one in the training documents"
        )
    for counts in contamination:
        dropped = f", {counts.dropped:,} documents dropped" if counts.dropped else ""
        short = f", {counts.short_texts:,} shorter" if counts.short_texts else ""
        unchecked = counts.unchecked_texts
        short += f", {unchecked:,} with too few n-grams to compare, not checked" if unchecked else ""
        short += f", one n-gram in {counts.sampled} compared" if counts.sampled > 1 else ""
        short += f", {counts.common_ngrams:,} common n-grams left out" if counts.common_ngrams else ""
        yield (
            f"{counts.ngrams_in_training:,} of {counts.ngrams:,} {counts.ngram}-grams of {counts.target} "
            f"({counts.texts:,}{short}) stand in the training documents; {counts.texts_in_training:,} stand there for "
            f"the most part{dropped}"
        )


def overlap_warnings(near: NearCounts, contamination: tuple[OverlapCounts, ...]) -> Iterator[str]:
    """What readers of a result must know: text that models are measured on is text that they were trained on."""
    if near.held_out_in_training:
        yield (
            f"{near.held_out_in_training:,} held-out documents have near-duplicates in the training documents: losses "
            "on them reward memory. Set data.deduplication.near to split or drop."
        )
    for counts in contamination:
        if unchecked := counts.unchecked_texts:
            yield (
                f"{unchecked:,} of {counts.texts:,} {counts.target} have too few n-grams to compare, as many of them "
                "share the others or as n-grams are sampled: whether they stand in the training documents is not known."
            )
        if counts.texts and counts.short_texts == counts.texts:
            yield (
                f"None of the {counts.texts:,} {counts.target} is as long as an n-gram of {counts.ngram} words: "
                "none was compared with the training documents. Lower data.contamination.ngram."
            )
        if counts.texts_in_training:
            yield (
                f"{counts.texts_in_training:,} of {counts.texts:,} {counts.target} stand for the most part in the "
                f"training documents. {_remedy(counts)}"
            )


def _remedy(counts: OverlapCounts) -> str:
    if counts.dropped == counts.contaminated:
        return "No single one holds so much of them; a lower data.contamination.overlap drops those that hold less."
    named = "" if counts.target == HELD_OUT else f" and name {counts.target} in data.contamination.tasks"
    return f"Set data.contamination.mode to drop{named}."
