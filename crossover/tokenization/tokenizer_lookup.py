"""The tokenizer that a study names, or whose files a folder holds."""

from __future__ import annotations

from pathlib import Path

from crossover.tokenization.tokenizer import BYTES, TOKENIZER, Tokenizer
from crossover.tokenization.tokenizer_file import bpe_rows


def named_tokenizer(name: str) -> Tokenizer | None:
    """The tokenizer that a study names; None for `bpe:ROWS`, which is to be trained on its documents.

    Raises:
        DataError: there is none of this name, or it loses text.
    """
    if name == BYTES.name:
        return BYTES
    if bpe_rows(name) is not None:
        return None
    from crossover.tokenization.subword_tokenizer import SubwordTokenizer

    return SubwordTokenizer.of_file(name)


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer whose files a dataset or a checkpoint holds; bytes where it has none.

    Raises:
        DataError: tokenizer.json is none that can be read, or the package `tokenizers` is missing.
    """
    path = folder / TOKENIZER
    if not path.is_file() or path.read_text("utf-8") == BYTES.json_text:
        return BYTES
    from crossover.tokenization.subword_tokenizer import SubwordTokenizer

    return SubwordTokenizer.read(folder)
