"""From a corpus to a dataset: normalise, drop exact duplicates, split by document, tokenise, cut, order, budget.

An example is a whole sequence of L tokens from inside one document, so that no arm ever attends across documents. The
examples are put in one fixed random order; a budget of U unique tokens is its first U // L examples. Hence budgets are
nested, and a small one is as diverse as the corpus allows.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from crossover.counter_rng import Stream, generator
from crossover.data import tokenizer
from crossover.data.cloze import ClozeItem, HeldOut, build_items, write_items
from crossover.data.dataset import (
    CLOZE,
    MANIFEST,
    TOKEN,
    TRAIN,
    VALIDATION,
    Budget,
    Dataset,
    DatasetManifest,
    TaskFile,
)
from crossover.data.sources import SourceCounts, documents
from crossover.errors import DataError
from crossover.files import digest_of_file, workspace_error, write_atomically, write_json
from crossover.study.study_config import DataConfig, StudyConfig


@dataclass
class _Split:
    """One side of the split while it is being written: tokens in a scratch file, lengths in memory."""

    scratch: tempfile._TemporaryFileWrapper[bytes]
    names: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    bytes: int = 0

    def add(self, name: str, text: str) -> None:
        tokens = np.append(tokenizer.encode(text), np.uint16(tokenizer.EOS))
        self.scratch.write(tokens.astype(TOKEN).tobytes())
        self.names.append(name)
        self.lengths.append(len(tokens))
        self.bytes += len(tokens) - 1

    def tokens(self) -> NDArray[np.uint16]:
        self.scratch.flush()
        if not self.lengths:
            return np.empty(0, dtype=TOKEN)
        return np.memmap(self.scratch.name, dtype=TOKEN, mode="r")

    def example_starts(self, length: int) -> NDArray[np.int64]:
        """Where each whole example starts in the scratch file, in order of documents. Shape (examples,)."""
        lengths = np.asarray(self.lengths, dtype=np.int64)
        whole = lengths // length
        document = np.repeat(np.arange(len(lengths)), whole)
        within = np.arange(whole.sum()) - np.repeat(np.cumsum(whole) - whole, whole)
        starts: NDArray[np.int64] = (np.cumsum(lengths) - lengths)[document] + within * length
        return starts


def prepare(study: StudyConfig, folder: Path, tasks: Callable[[Path], list[TaskFile]] = lambda folder: []) -> Dataset:
    """Prepare the corpus of a study, or reuse what a previous call with the same study finished.

    Args:
        study: what to read and how.
        folder: where the dataset goes; its manifest is written last.
        tasks: puts the files of the study's tasks into that folder, and says which.

    Raises:
        DataError: empty or missing corpus, too few documents, a budget larger than the corpus, undecodable files.
        WorkspaceError: the folder cannot be written, or the disk is full.
    """
    if (folder / MANIFEST).is_file():
        existing = Dataset.open(folder)
        if existing.manifest.study == study.digest:
            return existing
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.NamedTemporaryFile(dir=folder, prefix=".train.") as train_file,
            tempfile.NamedTemporaryFile(dir=folder, prefix=".validation.") as validation_file,
        ):
            return _build(study, folder, _Split(train_file), _Split(validation_file), tasks(folder))
    except OSError as error:
        raise workspace_error(folder, error) from error


def _build(study: StudyConfig, folder: Path, train: _Split, validation: _Split, tasks: list[TaskFile]) -> Dataset:
    data, counts = study.data, SourceCounts()
    duplicates = _split_documents(data, counts, train, validation)
    length = data.sequence_length
    starts = {"train": train.example_starts(length), "validation": validation.example_starts(length)}
    _check_enough(study, len(train.names), len(validation.names), len(starts["train"]), len(starts["validation"]))

    order = generator(0, Stream.BUDGETS, epoch=0).permutation(len(starts["train"]))
    held = generator(0, Stream.BUDGETS, epoch=1).permutation(len(starts["validation"]))
    rows = max(study.grid.unique_tokens) // length
    held_rows = min(data.validation_tokens // length, len(held))
    _write_rows(folder / TRAIN, train.tokens(), starts["train"][order[:rows]], length)
    _write_rows(folder / VALIDATION, validation.tokens(), starts["validation"][held[:held_rows]], length)
    items = _cloze(study, validation)
    write_items(folder / CLOZE, items)

    manifest = DatasetManifest(
        study=study.digest,
        source=data.source,
        tokenizer=data.tokenizer,
        sequence_length=length,
        files_read=counts.files,
        files_skipped=len(counts.undecodable),
        documents=len(train.names) + len(validation.names),
        duplicates_dropped=duplicates,
        empty_dropped=counts.empty,
        train_documents=len(train.names),
        validation_documents=len(validation.names),
        train_bytes=train.bytes,
        validation_bytes=validation.bytes,
        bytes_per_token=1.0,
        tail_tokens_dropped=int(sum(train.lengths)) - len(starts["train"]) * length,
        available_tokens=len(starts["train"]) * length,
        validation_examples=held_rows,
        cloze_items=len(items),
        budgets=tuple(_budgets(study, folder)),
        tasks=tuple(tasks),
        files={name: digest_of_file(folder / name) for name in (TRAIN, VALIDATION, CLOZE, *(t.path for t in tasks))},
    )
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return Dataset(folder, manifest)


def _split_documents(data: DataConfig, counts: SourceCounts, train: _Split, validation: _Split) -> int:
    """Put each distinct document on the side that its own digest says; returns how many were duplicates."""
    seen: set[bytes] = set()
    duplicates = 0
    for name, text in documents(data, counts):
        digest = hashlib.sha256(text.encode()).digest()
        if digest[:16] in seen:
            duplicates += 1
            continue
        seen.add(digest[:16])
        held_out = int.from_bytes(digest[16:24], "big") < data.validation_fraction * 2**64
        (validation if held_out else train).add(name, text)
    return duplicates


def _check_enough(study: StudyConfig, train: int, held: int, train_examples: int, held_examples: int) -> None:
    length = study.data.sequence_length
    if train + held == 0:
        raise DataError(
            "data.empty",
            field="data.source",
            problem=f"{study.data.source!r} holds no text",
            remedy="point it at files with text",
        )
    if train == 0 or held == 0:
        raise DataError(
            "data.too-few-documents",
            field="data.validation_fraction",
            problem=f"of {train + held} distinct documents {held} are held out and {train} are left to train on",
            remedy="give more documents, set data.separator to cut files into documents, or change the fraction",
        )
    largest = max(study.grid.unique_tokens)
    if largest // length > train_examples:
        raise DataError(
            "data.budget-too-large",
            field="grid.unique_tokens",
            problem=f"a budget of {largest:,} tokens was asked, the corpus yields {train_examples * length:,}",
            remedy=f"lower grid.unique_tokens to at most {train_examples * length} or add documents",
        )
    if held_examples == 0:
        raise DataError(
            "data.held-out-too-short",
            field="data.sequence_length",
            problem=f"no held-out document is as long as one example of {length} tokens",
            remedy="lower data.sequence_length or raise data.validation_fraction",
        )


def _write_rows(path: Path, tokens: NDArray[np.uint16], starts: NDArray[np.int64], length: int) -> None:
    def write(file: IO[bytes]) -> None:
        for block in np.array_split(starts, max(1, len(starts) // 65_536)):
            rows = tokens[block[:, None] + np.arange(length)]
            file.write(np.ascontiguousarray(rows, dtype=TOKEN).tobytes())

    write_atomically(path, write)


def _budgets(study: StudyConfig, folder: Path) -> Iterator[Budget]:
    length = study.data.sequence_length
    tokens = np.memmap(folder / TRAIN, dtype=TOKEN, mode="r").reshape(-1, length)
    for budget in study.grid.unique_tokens:
        rows = budget // length
        digest = hashlib.sha256(tokens[:rows].data).hexdigest()
        yield Budget(unique_tokens=budget, examples=rows, tokens=rows * length, digest=f"sha256:{digest}")


def _cloze(study: StudyConfig, validation: _Split) -> list[ClozeItem]:
    if "domain-cloze" not in study.evaluation.tasks:
        return []
    held_out = HeldOut(validation.tokens(), validation.names, validation.lengths, study.data.sequence_length)
    return build_items(held_out, study.evaluation.cloze_items)
