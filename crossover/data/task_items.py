"""The items of one task that a study takes, as an artifact of their own: `tasks/<name>/<digest>/`.

items.json[l]  the chosen documents
manifest.json  the pack they are of, counts, digests; written last

A task that is added, or of which more items are taken, makes a new artifact and leaves the dataset and the runs as they
are. Evaluation reads artifacts only, wherever it runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from crossover.data.domain_cloze import ClozeItem, read_items, write_items
from crossover.data.task_packs import Document, Pack
from crossover.errors import DataError
from crossover.files import digest_of, digest_of_file, read_json, verify_files, write_json, write_text
from crossover.study.study_parts import DOMAIN_CLOZE
from crossover.tokenization.tokenizer import BYTES, TOKENIZER, TOKENIZER_CONFIG, Tokenizer
from crossover.tokenization.tokenizer_lookup import read_tokenizer

MANIFEST = "manifest.json"
ITEMS, CLOZE_ITEMS = "items.jsonl", "items.json"
TASKS_VERSION = 1
"""Raise when the same packs or documents would give other items."""
CLOZE_PACK = Pack(name=DOMAIN_CLOZE, format="tokens", licence="the corpus's own", file=CLOZE_ITEMS, sha256="0" * 64)


class TaskManifest(BaseModel):
    """What the items are of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["task-items"] = "task-items"
    name: str
    pack: Pack
    items: int
    left_out: int
    """Items that the model is too short for."""
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest, hence over every file."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def content(self) -> str:
        """SHA-256 over what decides the scores: the items, and how they become questions."""
        return digest_of({"format": self.pack.format, "template": self.pack.template, "files": self.files})


class TaskItems:
    """The items of a task, opened for reading."""

    def __init__(self, folder: Path, manifest: TaskManifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open and check a folder.

        Raises:
            DataError: it does not hold the items of a task, or a file was altered.
        """
        try:
            manifest = TaskManifest.model_validate(read_json(folder / MANIFEST))
            problem = verify_files(folder, manifest.files)
        except ValidationError as error:
            problem = f"its manifest has {error.error_count()} invalid fields"
        if problem:
            raise DataError(
                "tasks.altered",
                field=str(folder),
                problem=problem,
                remedy="delete the folder and run `crossover prepare` again",
            )
        return cls(folder, manifest)

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the token ids of the domain cloze task."""
        return read_tokenizer(self.folder)

    def documents(self) -> list[tuple[int, Document]]:
        """The documents, numbered as in their pack."""
        if self.manifest.name == DOMAIN_CLOZE:
            return [(n, item.model_dump()) for n, item in enumerate(read_items(self.folder / CLOZE_ITEMS))]
        lines = (self.folder / ITEMS).read_text("utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        return [(int(row["id"]), row["document"]) for row in rows]


def write_pack_items(folder: Path, pack: Pack, chosen: Sequence[tuple[int, Document]], left_out: int) -> TaskItems:
    """Write chosen documents of a pack.

    Args:
        folder: of the artifact; made if need be.
        pack: what they are of.
        chosen: documents, numbered as in the pack.
        left_out: documents that the model is too short for.
    """
    rows: list[dict[str, Any]] = [{"id": number, "document": dict(document)} for number, document in chosen]
    write_text(folder / ITEMS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return _finish(folder, ITEMS, pack, len(rows), left_out)


def write_cloze_items(folder: Path, items: list[ClozeItem], tokenizer: Tokenizer = BYTES) -> TaskItems:
    """Write the items of the domain cloze task, and the tokenizer of their ids unless it is bytes."""
    write_items(folder / CLOZE_ITEMS, items)
    if tokenizer is not BYTES:
        write_text(folder / TOKENIZER, tokenizer.json_text)
        write_json(
            folder / TOKENIZER_CONFIG, tokenizer.hugging_face_config(len(items[0].context + items[0].options[0]))
        )
    return _finish(folder, CLOZE_ITEMS, CLOZE_PACK, len(items), 0)


def _finish(folder: Path, file: str, pack: Pack, items: int, left_out: int) -> TaskItems:
    names = [name for name in (file, TOKENIZER, TOKENIZER_CONFIG) if (folder / name).is_file()]
    files = {name: digest_of_file(folder / name) for name in names}
    manifest = TaskManifest(name=pack.name, pack=pack, items=items, left_out=left_out, files=files)
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return TaskItems(folder, manifest)
