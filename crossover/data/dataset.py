"""A prepared corpus on disk, and its manifest.

train.bin       uint16 or uint32 (examples, L): the largest budget; every smaller one is a prefix of it, hence nested;
                all examples of the corpus, where each seed draws a sample of its own; of a study that compares tiers
                of quality, this for one tier after the other
validation.bin  the same (examples, L): held-out documents
tokenizer.json  of the ids
manifest.json   digests, counts, settings; written last
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from crossover.counter_rng import Stream, generator
from crossover.data.cleaning.cleaning_counts import CleaningCounts, Histogram
from crossover.data.overlap_counts import NearCounts, OverlapCounts, overlap_lines, overlap_warnings
from crossover.data.row_sample import Rows, RowSample
from crossover.data.sources.source_counts import SourceReport
from crossover.errors import DataError
from crossover.files import digest_of, read_json, verify_files
from crossover.tokenization.tokenizer import Tokenizer
from crossover.tokenization.tokenizer_lookup import read_tokenizer

MANIFEST = "manifest.json"
TRAIN, VALIDATION = "train.bin", "validation.bin"


class _Record(BaseModel):
    """A part of a manifest. Fields of later versions are left out while they are empty, so that digests stay."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    _later: ClassVar[frozenset[str]] = frozenset({"quality", "tiers", "revision"})

    @model_serializer(mode="wrap")
    def _without_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value or name not in self._later}


class Budget(_Record):
    """One nested budget: the first `examples` rows of train.bin, or of its tier in it."""

    unique_tokens: int
    examples: int
    tokens: int
    digest: str
    quality: str = ""
    """The tier that it is of; empty in a study that does not compare tiers."""


class TierRows(_Record):
    """The part of train.bin that is of one tier of quality."""

    quality: str
    first: int
    """Number of its first row."""
    examples: int
    """Its rows."""
    documents: int
    available_tokens: int
    """Tokens of all its examples, of which budgets take a part."""
    joined_tokens: int
    """Those of examples that were joined from the ends of documents and from short ones."""
    tail_tokens_dropped: int


class TokenCounts(_Record):
    """The tokenizer of a dataset, and how it cuts the text of the training side."""

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


class DatasetManifest(_Record):
    """What a prepared corpus is; small, passed between stages."""

    kind: Literal["dataset"] = "dataset"
    request: str
    """Digest of what was requested: `study_digests.dataset_digest`."""
    corpus: str
    """Digest of how the corpus was read, cleaned, split and cut: `study_digests.corpus_digest`."""
    content: str
    """SHA-256 over the digests of the distinct documents and their scores if read, in the order they were read in."""
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
    tiers: tuple[TierRows, ...] = ()
    """Of a study that compares tiers of quality."""
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

    @property
    def budget_words(self) -> str:
        """The tokens of the budgets, by tier where tiers are compared."""
        tokens: dict[str, list[str]] = {}
        for budget in self.budgets:
            tokens.setdefault(budget.quality, []).append(f"{budget.tokens:,}")
        return "; ".join(f"{tier} {', '.join(listed)}".strip() for tier, listed in tokens.items())

    def budget(self, unique_tokens: int, quality: str = "") -> Budget:
        """The budget of so many unique tokens, of a tier where tiers are compared.

        Raises:
            KeyError: the dataset has no such budget.
        """
        for budget in self.budgets:
            if (budget.unique_tokens, budget.quality) == (unique_tokens, quality):
                return budget
        raise KeyError(unique_tokens, quality)

    def rows(self, quality: str = "") -> slice:
        """The rows of train.bin that budgets, of a tier where tiers are compared, are taken from."""
        own = next((tier for tier in self.tiers if tier.quality == quality), None)
        return slice(0, self.train_examples) if own is None else slice(own.first, own.first + own.examples)


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

    def train(self, unique_tokens: int, seed: int = 0, quality: str = "") -> Rows:
        """Examples (n, L) of a budget: a prefix of its tier's, or of the seed's own order of them."""
        count = self.manifest.budget(unique_tokens, quality).examples
        rows = self._rows(TRAIN, self.manifest.train_examples)[self.manifest.rows(quality)]
        if not self.manifest.resampled:
            return rows[:count]
        order = generator(seed, Stream.RESAMPLING).permutation(len(rows))
        return RowSample(rows, order[:count].copy())  # a view would hold the whole order

    def validation(self) -> NDArray[np.unsignedinteger]:
        """Held-out examples (n, L)."""
        return self._rows(VALIDATION, self.manifest.validation_examples)

    def _rows(self, name: str, rows: int) -> NDArray[np.unsignedinteger]:
        return np.memmap(
            self.folder / name, dtype=self.manifest.tokens.dtype, mode="r", shape=(rows, self.manifest.sequence_length)
        )
