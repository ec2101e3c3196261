"""A prepared corpus on disk, and its manifest.

train.bin       uint16 (examples, L): the largest budget; every smaller budget is a prefix of it, hence nested
validation.bin  uint16 (examples, L): held-out documents
domain-cloze.json  items of the domain cloze task, from held-out documents
tasks/*.jsonl   the chosen documents of the study's other tasks
manifest.json   digests, counts, settings; written last
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from crossover.data.task_packs import Document, Pack
from crossover.errors import DataError
from crossover.files import digest_of, read_json, verify_files

MANIFEST = "manifest.json"
TRAIN, VALIDATION, CLOZE = "train.bin", "validation.bin", "domain-cloze.json"
TOKEN = np.dtype("<u2")


class Budget(BaseModel):
    """One nested budget: the first `examples` rows of train.bin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unique_tokens: int
    examples: int
    tokens: int
    digest: str


class TaskFile(BaseModel):
    """The chosen documents of one task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    path: str
    pack: Pack
    items: int
    left_out: int
    """Items that the model is too short for."""


class DatasetManifest(BaseModel):
    """What a prepared corpus is; small, passed between steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dataset"] = "dataset"
    study: str
    source: str
    tokenizer: str
    sequence_length: int
    files_read: int
    files_skipped: int
    documents: int
    duplicates_dropped: int
    empty_dropped: int
    train_documents: int
    validation_documents: int
    train_bytes: int
    validation_bytes: int
    bytes_per_token: float
    tail_tokens_dropped: int
    available_tokens: int
    validation_examples: int
    cloze_items: int
    budgets: tuple[Budget, ...]
    tasks: tuple[TaskFile, ...] = ()
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest, hence over every file."""
        return digest_of(self.model_dump(mode="json"))


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
                "data.tampered",
                field=str(folder),
                problem=broken,
                remedy="delete the folder and prepare again",
            )
        return cls(folder, manifest)

    def train(self, unique_tokens: int) -> NDArray[np.uint16]:
        """Examples (n, L) of a budget, a prefix of the largest."""
        budget = next(b for b in self.manifest.budgets if b.unique_tokens == unique_tokens)
        return self._rows(TRAIN, max(b.examples for b in self.manifest.budgets))[: budget.examples]

    def validation(self) -> NDArray[np.uint16]:
        """Held-out examples (n, L)."""
        return self._rows(VALIDATION, self.manifest.validation_examples)

    def documents(self, task: TaskFile) -> list[tuple[int, Document]]:
        """A task's documents, numbered as in their pack."""
        rows = [json.loads(line) for line in (self.folder / task.path).read_text("utf-8").splitlines()]
        return [(int(row["id"]), row["document"]) for row in rows]

    def _rows(self, name: str, rows: int) -> NDArray[np.uint16]:
        return np.memmap(self.folder / name, dtype=TOKEN, mode="r", shape=(rows, self.manifest.sequence_length))
