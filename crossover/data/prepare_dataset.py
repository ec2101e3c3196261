"""From a split corpus to a dataset and the domain cloze task: cut, order, budget.

`crossover.data.packing` makes examples of documents. They are put in one fixed random order; a budget of U unique
tokens is its first U // L examples. Hence budgets are nested, and a small one is as diverse as the corpus allows. A
study that compares tiers of quality has this for each of them, from the documents of that tier alone. Where seeds draw
samples of their own, all examples are kept, and each seed puts them in an order of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator
from crossover.data.cleaning.cleaning_counts import Histogram
from crossover.data.cleaning.normalisation import text_bytes
from crossover.data.dataset import (
    MANIFEST,
    TRAIN,
    VALIDATION,
    Budget,
    Dataset,
    DatasetManifest,
    TierRows,
    TokenCounts,
)
from crossover.data.dataset_digests import corpus_digest, dataset_digest
from crossover.data.domain_cloze import HeldOut, build_items
from crossover.data.packing import PackedExamples
from crossover.data.quality_tiers import TIERS, most_tokens_of_tier
from crossover.data.sources import SourceCounts, SourceReport
from crossover.data.split_corpus import SplitCorpus, distinct_documents
from crossover.data.task_items import TaskItems, write_cloze_items
from crossover.errors import DataError
from crossover.files import digest_of_file, write_atomically, write_json, write_text
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import BYTES, TOKENIZER, TOKENIZER_CONFIG, Tokenizer
from crossover.tokenization.tokenizer_lookup import named_tokenizer

TOKENS_AT_ONCE = 1 << 22
"""Of examples that are gathered and written together."""


def prepare_dataset(study: StudyConfig, corpus: SplitCorpus, folder: Path) -> Dataset:
    """Write the dataset of a study.

    Args:
        study: sequence length and budgets.
        corpus: the documents.
        folder: where the dataset goes; its manifest is written last.

    Raises:
        DataError: too few documents, or a budget larger than the corpus.
        WorkspaceError: the folder cannot be written, or the disk is full.
    """
    length, train, validation = study.data.sequence_length, corpus.train, corpus.validation
    tokenizer = corpus.tokenizer
    _check_documents(study, len(corpus.train.names), len(corpus.validation.names), _left_out(corpus))
    with validation.examples(study.data) as held_out:
        _check_held_out(study, len(held_out))
        order = generator(0, Stream.BUDGETS, epoch=1).permutation(len(held_out))
        held_rows = min(study.data.validation_tokens // length, len(order))
        _write_rows(folder / VALIDATION, _blocks(held_out, order[:held_rows]))
        held_joined = len(held_out.leftovers) * length
    tiers: list[TierRows] = []
    _write_rows(folder / TRAIN, _training_blocks(study, corpus, tiers))
    side = _whole_side(study, corpus, tiers)
    write_text(folder / TOKENIZER, tokenizer.json_text)
    write_json(folder / TOKENIZER_CONFIG, tokenizer.hugging_face_config(length))
    manifest = DatasetManifest(
        request=dataset_digest(study),
        corpus=corpus_digest(study.data),
        content=corpus.content,
        source=study.data.source_label,
        tokenizer=study.data.tokenizer,
        sequence_length=length,
        files_read=corpus.counts.files,
        documents=len(train.names) + len(validation.names),
        duplicates_dropped=corpus.counts.duplicates,
        empty_dropped=corpus.counts.empty,
        undecodable_dropped=corpus.counts.undecodable,
        sources=SourceReport.of(corpus.counts),
        near=corpus.near,
        contamination=corpus.contamination,
        train_documents=len(train.names),
        validation_documents=len(validation.names),
        train_bytes=train.bytes,
        validation_bytes=validation.bytes,
        bytes_per_token=train.bytes / max(1, train.text_tokens),
        tokens=TokenCounts(
            digest=tokenizer.digest,
            vocab_size=tokenizer.vocab_size,
            dtype="<u2" if tokenizer.dtype.itemsize == 2 else "<u4",
            fertility=train.text_tokens / max(1, train.words),
            revision=tokenizer.revision,
        ),
        tail_tokens_dropped=side.tail_tokens_dropped,
        available_tokens=side.available_tokens,
        joined_tokens=side.joined_tokens,
        train_examples=sum(tier.examples for tier in tiers),
        validation_examples=held_rows,
        document_end=tokenizer.eos if _holds_several(study, side.joined_tokens + held_joined) else None,
        resampled=study.data.resample,
        cleaning=corpus.counts.cleaning,
        document_tokens=Histogram.of(chain(train.lengths, validation.lengths)),
        budgets=tuple(budget for tier in tiers for budget in _budgets(study, folder, tokenizer, tier)),
        tiers=tuple(tiers) if study.grid.quality else (),
        files={name: digest_of_file(folder / name) for name in (TRAIN, VALIDATION, TOKENIZER, TOKENIZER_CONFIG)},
    )
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return Dataset(folder, manifest)


def prepare_cloze(study: StudyConfig, dataset: Dataset, corpus: SplitCorpus, folder: Path) -> TaskItems:
    """Write the items of the domain cloze task, from the held-out documents of the corpus that the dataset is of.

    Raises:
        DataError: the corpus has changed since the dataset was prepared, or has too few held-out documents.
    """
    same = corpus.content == dataset.manifest.content and corpus.tokenizer.digest == dataset.manifest.tokens.digest
    if not same:
        raise DataError(
            "data.corpus-changed",
            field="data.source",
            problem=f"{study.data.source_label!r} gives other documents or another tokenizer than when the dataset was "
            "prepared, so that new items could be text that runs were trained on, or in other tokens",
            remedy="restore the files, or give another place with --out to start from the new ones",
        )
    side = corpus.validation
    held_out = HeldOut(side.tokens(), side.names, side.lengths, study.data.sequence_length)
    return write_cloze_items(folder, build_items(held_out, study.evaluation.cloze_items), corpus.tokenizer)


def check_budget(study: StudyConfig) -> list[int]:
    """Read a corpus until it has yielded the tokens of the largest budget and held out an example. Nothing is written.

    Which documents a tier of quality holds is known once all are scored. A budget of tiers is compared with the most
    that one may hold, so that the preparation may still refuse it.

    Returns:
        Tokens of each training document that was read, its end included.

    Raises:
        DataError: it has fewer, holds out no example, or cannot be read.
    """
    length, rows = study.data.sequence_length, max(study.grid.unique_tokens) // study.data.sequence_length
    tier = next((tier for tier in study.grid.quality if tier in TIERS), "")
    of_tier = bool(tier) or study.data.quality.tier in TIERS
    lengths, sizes, tokens, held_documents, held_tokens = list[int](), list[int](), 0, 0, 0
    enough = False
    tokenizer = named_tokenizer(study.data.tokenizer) or BYTES  # a subword tokenizer yields no more tokens than bytes
    with closing(distinct_documents(study.data, SourceCounts())) as corpus:
        for document in corpus:
            count = len(tokenizer.encode(document.text)) + 1
            if document.held_out:
                held_documents, held_tokens = held_documents + 1, held_tokens + count
            else:
                lengths.append(count)
                sizes.append(text_bytes(document.text))
                tokens += count
            enough = tokens // length >= (len(TIERS) * (rows + 1) if of_tier else rows)
            if enough and held_tokens >= length:
                return lengths
    _check_documents(study, len(lengths), held_documents)
    _check_held_out(study, held_tokens // length)
    if enough:
        return lengths
    held = (most_tokens_of_tier(lengths, sizes) if of_tier else tokens) // length
    if held < rows:
        raise _budget_error(study, held, " at most (a tier is a third of the text)" if of_tier else "", tier)
    return lengths


def _budget_error(study: StudyConfig, examples: int, left_out: str = "", tier: str = "") -> DataError:
    available = examples * study.data.sequence_length
    where = " to the source of the mixture that ends first" if study.data.sources else ""
    where += f", or leave {tier} out of grid.quality" if tier else ""
    holder = f"the tier {tier} holds" if tier else "the corpus yields"
    return DataError(
        "data.budget-too-large",
        field="grid.unique_tokens",
        problem=f"a budget of {max(study.grid.unique_tokens):,} tokens is requested, {holder} {available:,}{left_out}",
        remedy=f"lower grid.unique_tokens to at most {available} or add documents{where}",
    )


def _left_out(corpus: SplitCorpus) -> str:
    """What was read and is not there, for an error about what is missing."""
    cleaned = ((step.name, sum(step.dropped.values())) for step in corpus.counts.cleaning.steps)
    skipped = sum(corpus.counts.skipped.counts.values())
    first = next((f", the first: {places[0]}" for places in corpus.counts.skipped.places.values()), "")
    parts = [(f"bad documents{first}", skipped), ("exact duplicates", corpus.counts.duplicates), *cleaned]
    parts += [("near-duplicates", corpus.near.dropped)]
    parts += [(f"contaminated by {counts.target}", counts.dropped) for counts in corpus.contamination]
    text = ", ".join(f"{count:,} {name}" for name, count in parts if count)
    return f" (left out: {text})" if text else ""


def _check_documents(study: StudyConfig, train: int, held: int, left_out: str = "") -> None:
    if train + held == 0:
        raise DataError(
            "data.empty",
            field="data.source",
            problem=f"{study.data.source_label!r} holds no text{left_out}",
            remedy="point it at files with text, or leave out less",
        )
    if train == 0 or held == 0:
        raise DataError(
            "data.too-few-documents",
            field="data.validation_fraction",
            problem=f"of {train + held} distinct documents {held} are held out and {train} are left to train on"
            f"{left_out}",
            remedy="give more documents, set data.separator to cut files into documents, or change the fraction",
        )


def _check_held_out(study: StudyConfig, examples: int) -> None:
    if examples == 0:
        raise DataError(
            "data.held-out-too-short",
            field="data.sequence_length",
            problem=f"the held-out documents are not as long as one example of {study.data.sequence_length} tokens",
            remedy="lower data.sequence_length or raise data.validation_fraction",
        )


def _holds_several(study: StudyConfig, joined: int) -> bool:
    """Whether examples hold several documents that do not attend to each other."""
    return study.data.attention == "document" and (joined > 0 or study.data.packing == "stream")


def _write_rows(path: Path, blocks: Iterator[NDArray[np.unsignedinteger]]) -> None:
    def write(file: IO[bytes]) -> None:
        for block in blocks:
            file.write(np.ascontiguousarray(block).tobytes())

    write_atomically(path, write)


def _blocks(examples: PackedExamples, order: NDArray[np.int64]) -> Iterator[NDArray[np.unsignedinteger]]:
    """Examples in an order, some at a time."""
    for block in np.array_split(order, max(1, -(-len(order) * examples.length // TOKENS_AT_ONCE))):
        yield examples.rows(block)


def _training_blocks(
    study: StudyConfig, corpus: SplitCorpus, tiers: list[TierRows]
) -> Iterator[NDArray[np.unsignedinteger]]:
    """The rows of train.bin, one tier after the other where tiers are compared; says in `tiers` what it yielded.

    Raises:
        DataError: a budget is larger than a tier, or than the corpus.
    """
    for tier in study.grid.quality or ("",):
        with corpus.train.examples(study.data, tier or "all") as examples:
            rows = max(study.grid.unique_tokens) // study.data.sequence_length
            if rows > len(examples):
                raise _budget_error(study, len(examples), _left_out(corpus), tier)
            order = generator(0, Stream.BUDGETS, epoch=0).permutation(len(examples))
            order = order if study.data.resample else order[:rows]
            first = sum(before.examples for before in tiers)
            tiers.append(_tier_rows(corpus, tier, examples).model_copy(update={"first": first, "examples": len(order)}))
            yield from _blocks(examples, order)


def _tier_rows(corpus: SplitCorpus, tier: str, examples: PackedExamples) -> TierRows:
    """What a tier, or the whole training side, holds; none of it is in train.bin yet."""
    train = corpus.train
    return TierRows(
        quality=tier,
        first=0,
        examples=0,
        documents=train.tiers.count(tier) if tier in TIERS else len(train.names),
        available_tokens=len(examples) * examples.length,
        joined_tokens=len(examples.leftovers) * examples.length,
        tail_tokens_dropped=examples.dropped,
    )


def _whole_side(study: StudyConfig, corpus: SplitCorpus, tiers: Iterable[TierRows]) -> TierRows:
    """What the training side holds, all tiers together."""
    whole = next((tier for tier in tiers if tier.quality not in TIERS), None)
    if whole is None:
        with corpus.train.examples(study.data) as examples:
            return _tier_rows(corpus, "", examples)
    return whole


def _budgets(study: StudyConfig, folder: Path, tokenizer: Tokenizer, tier: TierRows) -> Iterator[Budget]:
    length = study.data.sequence_length
    rows_NL = np.memmap(folder / TRAIN, dtype=tokenizer.dtype, mode="r").reshape(-1, length)
    rows_NL = rows_NL[tier.first : tier.first + tier.examples]
    for budget in study.grid.unique_tokens:
        rows = budget // length
        digest = hashlib.sha256((rows_NL if study.data.resample else rows_NL[:rows]).data).hexdigest()
        yield Budget(
            unique_tokens=budget,
            examples=rows,
            tokens=rows * length,
            digest=f"sha256:{digest}",
            quality=tier.quality,
        )
