"""One side of the split of a corpus: its documents as tokens on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from crossover.data.cleaning.cleaning_counts import Histogram
from crossover.data.cleaning.normalisation import text_bytes
from crossover.data.document_spool import DocumentSpool
from crossover.data.packing import PackedExamples, packed
from crossover.study.data_config import DataConfig
from crossover.tokenization.tokenizer import Tokenizer

CHARACTERS_AT_ONCE = 1 << 22
"""Of documents that are encoded together."""


@dataclass
class SplitSide:
    """One side of the split: tokens in a scratch file, names and lengths of documents in memory.

    Args:
        scratch: the file, which has no name: the system frees it when its process ends.
        folder: for other scratch files.
        tokenizer: of the documents; None until it is trained on the documents of a side, which are spooled until then.
    """

    scratch: IO[bytes]
    folder: Path
    tokenizer: Tokenizer | None
    names: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    tiers: list[str] = field(default_factory=list)
    """Of its documents; empty where they are not scored."""
    bytes: int = 0
    sizes: Histogram = field(default_factory=Histogram)
    """Bytes of its documents."""
    words: int = 0
    """What stands between blanks."""
    _texts: list[str] = field(default_factory=list)
    _characters: int = 0
    _spool: DocumentSpool | None = None

    def add(self, name: str, text: str, tier: str = "") -> None:
        """Append a document, of a tier where documents are scored."""
        self.names.append(name)
        self.tiers += [tier] * bool(tier)
        self.bytes += text_bytes(text)
        self.sizes.add(text_bytes(text))
        self.words += len(text.split())
        if self.tokenizer is None:
            self._spool = self._spool or DocumentSpool(self.folder)
            self._spool.append(name, text)
        else:
            self._encode_later(text)

    @property
    def text_tokens(self) -> int:
        """Tokens without EOS."""
        return sum(self.lengths) - len(self.lengths)

    def texts(self) -> Iterator[str]:
        """The documents that wait for a tokenizer."""
        return (document.text for document in self._spool or ())

    def tokenize(self, tokenizer: Tokenizer) -> None:
        """Encode the documents that wait for a tokenizer."""
        self.tokenizer = tokenizer
        for text in self.texts():
            self._encode_later(text)
        if self._spool:
            self._spool.close()
            self._spool = None

    def tokens(self) -> NDArray[np.unsignedinteger]:
        """All documents end to end, each closed by EOS."""
        assert self.tokenizer is not None  # noqa: S101 - a side is read once its documents are tokens
        self._encode()
        self.scratch.flush()
        if not self.lengths:
            return np.empty(0, dtype=self.tokenizer.dtype)
        return np.memmap(self.scratch, dtype=self.tokenizer.dtype, mode="r")

    def _encode_later(self, text: str) -> None:
        self._texts.append(text)
        self._characters += len(text)
        if self._characters >= CHARACTERS_AT_ONCE:
            self._encode()

    def _encode(self) -> None:
        assert self.tokenizer is not None  # noqa: S101 - as above
        for ids in self.tokenizer.encode_batch(self._texts):
            self.scratch.write(np.append(ids, self.tokenizer.eos).astype(self.tokenizer.dtype).tobytes())
            self.lengths.append(len(ids) + 1)
        self._texts.clear()
        self._characters = 0

    def examples(self, data: DataConfig, tier: str = "all") -> AbstractContextManager[PackedExamples]:
        """The side's documents, or those of one tier, as examples; see `packing.packed`."""
        tokens = self.tokens()
        lengths = np.asarray(self.lengths, dtype=np.int64)
        chosen = None if tier == "all" else np.asarray([own == tier for own in self.tiers], dtype=np.bool_)
        return packed(tokens, lengths, data.sequence_length, data.packing, self.folder, chosen)
