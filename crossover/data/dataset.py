"""A prepared corpus on disk, and its manifest.

train.bin       uint16 (examples, L): the largest budget; every smaller budget is a prefix of it, hence nested
validation.bin  uint16 (examples, L): held-out documents
manifest.json   digests, counts, settings; written last
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossover.data.cleaning.cleaning_counts import CleaningCounts, Histogram
from crossover.errors import DataError
from crossover.files import digest_of, read_json, verify_files

MANIFEST = "manifest.json"
TRAIN, VALIDATION = "train.bin", "validation.bin"
TOKEN = np.dtype("<u2")


class Budget(BaseModel):
    """One nested budget: the first `examples` rows of train.bin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unique_tokens: int
    examples: int
    tokens: int
    digest: str


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
    train_documents: int
    validation_documents: int
    train_bytes: int
    validation_bytes: int
    bytes_per_token: float
    tail_tokens_dropped: int
    available_tokens: int
    validation_examples: int
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

    def train(self, unique_tokens: int) -> NDArray[np.uint16]:
        """Examples (n, L) of a budget, a prefix of the largest."""
        rows = self._rows(TRAIN, max(budget.examples for budget in self.manifest.budgets))
        return rows[: self.manifest.budget(unique_tokens).examples]

    def validation(self) -> NDArray[np.uint16]:
        """Held-out examples (n, L)."""
        return self._rows(VALIDATION, self.manifest.validation_examples)

    def _rows(self, name: str, rows: int) -> NDArray[np.uint16]:
        return np.memmap(self.folder / name, dtype=TOKEN, mode="r", shape=(rows, self.manifest.sequence_length))
