"""A prepared corpus on disk, and its manifest.

train.bin       uint16 or uint32 (examples, L): the largest budget; every smaller one is a prefix of it, hence nested;
                all examples of the corpus, where each seed draws a sample of its own
validation.bin  the same (examples, L): held-out documents
tokenizer.json  of the ids
manifest.json   digests, counts, settings; written last
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from crossover.counter_rng import Stream, generator
from crossover.data.cleaning.cleaning_counts import CleaningCounts, Histogram
from crossover.data.overlap_counts import NearCounts, OverlapCounts, overlap_lines, overlap_warnings
from crossover.data.sources.source_counts import SourceReport
from crossover.errors import DataError
from crossover.files import digest_of, read_json, verify_files
from crossover.tokenization.tokenizer import Tokenizer, read_tokenizer

MANIFEST = "manifest.json"
TRAIN, VALIDATION = "train.bin", "validation.bin"


class Budget(BaseModel):
    """One nested budget: the first `examples` rows of train.bin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unique_tokens: int
    examples: int
    tokens: int
    digest: str


class TokenCounts(BaseModel):
    """The tokenizer of a dataset, and how it cuts the text of the training side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    """SHA-256 of tokenizer.json."""
    vocab_size: int
    """Rows, BOS, EOS and MASK included."""
    dtype: Literal["<u2", "<u4"]
    """Of token ids in the files."""
    fertility: float
    """Tokens per word, words being what stands between blanks."""
    revision: str = ""
    """The commit on the Hugging Face Hub that the tokenizer was read from; left out for all others."""

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """So that manifests of datasets without it keep their digest."""
        value: dict[str, Any] = handler(self)
        return value if self.revision else {name: each for name, each in value.items() if name != "revision"}


class DatasetManifest(BaseModel):
    """What a prepared corpus is; small, passed between stages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dataset"] = "dataset"
    request: str
    """Digest of what was requested: `study_digests.dataset_digest`."""
    corpus: str
    """Digest of how the corpus was read, cleaned, split and cut: `study_digests.corpus_digest`."""
    content: str
    """SHA-256 over the digests of the distinct documents, in the order that they were read."""
    source: str
    tokenizer: str
    sequence_length: int
    files_read: int
    documents: int
    duplicates_dropped: int
    empty_dropped: int
    undecodable_dropped: int
    near: NearCounts = NearCounts()
    contamination: tuple[OverlapCounts, ...] = ()
    sources: SourceReport = SourceReport()
    train_documents: int
    validation_documents: int
    train_bytes: int
    validation_bytes: int
    bytes_per_token: float
    """On the training side; EOS is not counted."""
    tokens: TokenCounts
    tail_tokens_dropped: int
    """Tokens at the training side's end that fill no example."""
    available_tokens: int
    """Tokens of the training side's examples, of which budgets take a part."""
    joined_tokens: int
    """Those of examples that were joined from the ends of documents and from short ones."""
    train_examples: int
    """Rows of train.bin."""
    validation_examples: int
    document_end: int | None
    """Id of the token that ends a document, where attention stays within the documents of an example."""
    resampled: bool
    """Whether each seed is trained on a sample of its own of train.bin."""
    cleaning: CleaningCounts = Field(default_factory=CleaningCounts)
    """What each step of the cleaning took in and left out; the histograms of the data card."""
    document_tokens: Histogram = Field(default_factory=Histogram)
    """Tokens of the documents of both sides."""
    budgets: tuple[Budget, ...]
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest, hence over every file."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def overlap(self) -> tuple[str, ...]:
        """What was found of near-duplicates and contamination, in words."""
        return tuple(overlap_lines(self.near, self.contamination, self.validation_documents))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What readers of a result must know of it."""
        return tuple(overlap_warnings(self.near, self.contamination))

    def budget(self, unique_tokens: int) -> Budget:
        """The budget of so many unique tokens.

        Raises:
            KeyError: the dataset has no such budget.
        """
        for budget in self.budgets:
            if budget.unique_tokens == unique_tokens:
                return budget
        raise KeyError(unique_tokens)


class Dataset:
    """A prepared corpus opened for reading; arrays are memory-mapped."""

    def __init__(self, folder: Path, manifest: DatasetManifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open and check a folder.

        Raises:
            DataError: it is not a prepared corpus, or a file was altered.
        """
        try:
            manifest = DatasetManifest.model_validate(read_json(folder / MANIFEST))
        except ValidationError as error:
            raise DataError(
                "data.bad-manifest",
                field=str(folder / MANIFEST),
                problem=f"not a dataset manifest ({error.error_count()} wrong fields)",
                remedy="run `crossover prepare` again",
            ) from error
        broken = verify_files(folder, manifest.files)
        if broken:
            raise DataError(
                "data.altered",
                field=str(folder),
                problem=broken,
                remedy="delete the folder and prepare again",
            )
        return cls(folder, manifest)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Of the ids."""
        return read_tokenizer(self.folder)

    def train(self, unique_tokens: int, seed: int = 0) -> NDArray[np.unsignedinteger]:
        """Examples (n, L) of a budget: a prefix of all, or of the seed's own order of them, copied to memory."""
        rows, count = self._rows(TRAIN, self.manifest.train_examples), self.manifest.budget(unique_tokens).examples
        if not self.manifest.resampled:
            return rows[:count]
        order = generator(seed, Stream.RESAMPLING).permutation(len(rows))
        return np.asarray(rows[order[:count]])

    def validation(self) -> NDArray[np.unsignedinteger]:
        """Held-out examples (n, L)."""
        return self._rows(VALIDATION, self.manifest.validation_examples)

    def _rows(self, name: str, rows: int) -> NDArray[np.unsignedinteger]:
        return np.memmap(
            self.folder / name, dtype=self.manifest.tokens.dtype, mode="r", shape=(rows, self.manifest.sequence_length)
        )
