"""What a corpus holds, before a study of it exists: its source, its documents, the tokens that it yields."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossover.data.corpus_sources import SourceCounts, matching_files, source_bytes, unpacked
from crossover.data.split_corpus import distinct_documents, document_tokens
from crossover.errors import DataError
from crossover.study.data_config import SOURCES, DataConfig

PACKED = (".gz", ".xz")
JSON_LINES = (".jsonl", ".ndjson")
SEPARATORS = ("<|endoftext|>", "\f", "\n\n\n\n", "\n\n\n", "\n\n")
"""What may stand between the documents of one file, tried in this order."""
FEWEST_DOCUMENTS = 20
"""Below it a tenth held out is a document or two, or none."""
SHORT_SEQUENCE = 64


@dataclass(frozen=True)
class CorpusSurvey:
    """A corpus as it was read once."""

    data: DataConfig
    """How it was read."""
    counts: SourceCounts
    stored_bytes: int
    train_lengths: NDArray[np.int64]
    """Tokens of each distinct document on the training side. Shape (documents,)."""
    held_out_lengths: NDArray[np.int64]
    """The same of the held-out side."""

    @property
    def documents(self) -> int:
        """Distinct documents."""
        return len(self.train_lengths) + len(self.held_out_lengths)

    def train_tokens(self, length: int) -> int:
        """Tokens to train on in examples of `length`."""
        return int(self.train_lengths.sum()) // length * length

    def held_out_tokens(self, length: int) -> int:
        """Held-out tokens in examples of `length`."""
        return int(self.held_out_lengths.sum()) // length * length


def survey_corpus(data: DataConfig) -> CorpusSurvey:
    """Read a corpus; a text source of few documents is cut into more if a usual separator stands in it.

    Args:
        data: the source; its documents that are not UTF-8 are skipped and counted.

    Raises:
        DataError: the source names no files, a line is no JSON object with the text, or there are too few documents.
    """
    survey = _survey(data)
    if data.source.startswith("text:") and not data.separator and survey.documents < FEWEST_DOCUMENTS:
        for separator in SEPARATORS:
            cut = _survey(data.model_copy(update={"separator": separator}))
            in_long = (cut.train_lengths // SHORT_SEQUENCE).sum() * SHORT_SEQUENCE / max(1, cut.train_lengths.sum())
            if cut.documents >= FEWEST_DOCUMENTS and in_long > 0.5:
                return cut
    if not survey.train_tokens(SHORT_SEQUENCE) or not survey.held_out_tokens(SHORT_SEQUENCE):
        skipped = f", {survey.counts.undecodable} that are not UTF-8" if survey.counts.undecodable else ""
        raise DataError(
            "init.too-few-documents",
            field="CORPUS",
            problem=f"{data.source!r} holds {survey.documents} documents{skipped}: too few or too short to hold some "
            "out by document",
            remedy="give more documents, or name what stands between those of one file with --separator",
        )
    return survey


def _survey(data: DataConfig) -> CorpusSurvey:
    counts = SourceCounts()
    lengths: dict[bool, list[int]] = {False: [], True: []}
    for document in distinct_documents(data, counts):
        lengths[document.held_out].append(len(document_tokens(document.text)))
    sides = {side: np.asarray(tokens, dtype=np.int64) for side, tokens in lengths.items()}
    return CorpusSurvey(data, counts, source_bytes(data), sides[False], sides[True])


def source_of(corpus: str, *, text_field: str = "", separator: str = "") -> DataConfig:
    """The source that a file, a folder, a glob pattern or a source as studies name them means.

    A folder means its files of the kind that makes up most of its bytes.

    Args:
        corpus: as the user names it.
        text_field: of JSON lines; empty for `text`, or the longest text of the first line where that is absent.
        separator: between the documents of a text file.

    Raises:
        DataError: no such file, or JSON lines without a text.
    """
    source = corpus
    if not corpus.startswith(SOURCES):
        pattern = _folder_pattern(Path(corpus)) if Path(corpus).is_dir() else corpus
        files = [path for path, _ in matching_files(pattern)]
        lines = all(_kind(path).startswith(JSON_LINES) for path in files)
        source = f"{'jsonl' if lines else 'text'}:{pattern}"
    if source.startswith("jsonl:") and not text_field:
        text_field = _text_field(source)
    data = DataConfig(source=source, separator=separator, undecodable="skip")
    return data.model_copy(update={"text_field": text_field}) if text_field else data


def _kind(path: Path) -> str:
    """The end of a file's name, with that of its packing: `.txt`, `.jsonl.gz`."""
    return "".join(path.suffixes[-2:]) if path.suffix in PACKED else path.suffix


def _folder_pattern(folder: Path) -> str:
    """A glob pattern of a folder's main kind of files, at any depth."""
    sizes: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            sizes[_kind(path)] += path.stat().st_size
    kind = sizes.most_common(1)[0][0] if sizes else ""
    return f"{folder.as_posix()}/**/*{kind}"


def _text_field(source: str) -> str:
    """The field of the first JSON line that holds the text."""
    path, _ = matching_files(source.partition(":")[2])[0]
    with path.open("rb") as stored, unpacked(path, stored) as lines:
        line = next((line for line in lines if line.strip()), b"")
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    texts = {name: text for name, text in fields.items() if isinstance(text, str)} if isinstance(fields, dict) else {}
    if not texts:
        raise DataError(
            "init.no-text-field",
            field="CORPUS",
            problem=f"the first line of {path} is not a JSON object with a text",
            remedy="give JSON lines with a text field, or text files",
        )
    return "text" if "text" in texts else max(texts, key=lambda name: len(texts[name]))
