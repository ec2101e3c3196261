"""What a corpus holds, before a study of it exists: its source, its documents, the tokens that it yields."""

from __future__ import annotations

import lzma
import zlib
from collections import Counter
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossover.data.sources import SourceCounts, first_fields, matching_files, source_bytes
from crossover.data.sources.glob_patterns import MAGIC
from crossover.data.sources.packed_files import kind_of
from crossover.data.sources.source_trees import LANGUAGES
from crossover.data.split_corpus import distinct_documents
from crossover.errors import DataError
from crossover.field_faults import validate_fields
from crossover.study.data_config import DataConfig
from crossover.study.source_config import SOURCES, WITH_COLUMNS
from crossover.tokenization.tokenizer import BYTES

ENDINGS = {"jsonl": (".jsonl", ".ndjson"), "parquet": (".parquet",), "arrow": (".arrow", ".feather")}
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
        data: the source; its bad documents are skipped and counted.

    Raises:
        DataError: the source names no files, or there are too few documents.
    """
    survey = _survey(data)
    if data.source.startswith("text:") and not data.separator and survey.documents < FEWEST_DOCUMENTS:
        for separator in SEPARATORS:
            cut = _survey(data.model_copy(update={"separator": separator}))
            in_long = (cut.train_lengths // SHORT_SEQUENCE).sum() * SHORT_SEQUENCE / max(1, cut.train_lengths.sum())
            if cut.documents >= FEWEST_DOCUMENTS and in_long > 0.5:
                return cut
    if not survey.train_tokens(SHORT_SEQUENCE) or not survey.held_out_tokens(SHORT_SEQUENCE):
        bad = survey.counts.skipped.counts.total()
        skipped = f", {bad} that cannot be read" if bad else ""
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
        lengths[document.held_out].append(len(BYTES.encode(document.text)) + 1)
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
    source = corpus if corpus.startswith(SOURCES) else _source(corpus)
    fields = {"source": source, "separator": separator, "bad_documents": "skip"}
    if not source.startswith(WITH_COLUMNS):
        return validate_fields(DataConfig, fields)
    data = validate_fields(DataConfig, fields | ({"text_field": text_field} if text_field else {}))
    return data if text_field else data.model_copy(update={"text_field": _text_field(data)})


def _source(corpus: str) -> str:
    """The source that a path or an s3:// URI means."""
    folder = Path(corpus).expanduser()
    files = matching_files(corpus)
    sizes: Counter[str] = Counter()
    for file in files:
        sizes[kind_of(file.name)] += file.size
    kind = sizes.most_common(1)[0][0]
    if kind in LANGUAGES and (folder / ".git").exists():
        return f"tree:{corpus}"
    inside = folder.is_dir() or (len(files) > 1 and not MAGIC.search(corpus))
    pattern = f"{escape(corpus.rstrip('/'))}/**/*{kind}" if inside else corpus
    if not inside and any(not kind_of(file.name).startswith(ENDINGS.get(_scheme(kind), "")) for file in files):
        return f"text:{pattern}"
    return f"{_scheme(kind)}:{pattern}"


def _scheme(kind: str) -> str:
    """The kind of source that files of an ending are."""
    return next((scheme for scheme, endings in ENDINGS.items() if kind.startswith(endings)), "text")


def _text_field(data: DataConfig) -> str:
    """The field of the first document that holds the text."""
    try:
        fields = first_fields(data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, RecursionError) as error:
        raise _no_text(f"the first document of {data.source} cannot be read ({error})") from error
    texts = {name: text for name, text in fields.items() if isinstance(text, str)}
    if not texts:
        raise _no_text(f"the first document of {data.source} has no field with a text")
    return "text" if "text" in texts else max(texts, key=lambda name: len(texts[name]))


def _no_text(problem: str) -> DataError:
    return DataError(
        "init.no-text-field",
        field="CORPUS",
        problem=problem,
        remedy="give documents with a text field, or text files",
    )
