"""Tokenizers by the name that a study gives, and from the folder of a dataset or a checkpoint."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from crossover.tokenization.byte_tokenizer import BYTES
from crossover.tokenization.subword_tokenizer import SubwordTokenizer, read_tokenizer
from crossover.tokenization.tokenizer import Tokenizer

TOKENIZER_FILE = "tokenizer.json"


@lru_cache(maxsize=8)
def named_tokenizer(name: str) -> Tokenizer | None:
    """The tokenizer that a study names; None for `bpe:ROWS`, which is to be trained on its documents.

    Raises:
        DataError: there is none of this name.
    """
    scheme, _, place = name.partition(":")
    if scheme == "bytes":
        return BYTES
    return None if scheme == "bpe" else read_tokenizer(name, place)


def rows_of(name: str) -> int:
    """Rows of the vocabulary of the tokenizer that a study names.

    Raises:
        DataError: there is none of this name.
    """
    known = named_tokenizer(name)
    return int(name.partition(":")[2]) if known is None else known.vocab_size


def tokenizer_in(folder: Path, name: str = "") -> Tokenizer:
    """The tokenizer whose files lie in a dataset or a checkpoint.

    Raises:
        DataError: its file is no tokenizer.json.
    """
    content = (folder / TOKENIZER_FILE).read_text("utf-8")
    if json.loads(content) == BYTES.hugging_face_json():
        return BYTES
    return SubwordTokenizer(name or "subword", content)
