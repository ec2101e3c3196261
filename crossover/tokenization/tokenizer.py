"""What all tokenizers have in common: text to ids and back, without loss, and three ids that no text contains.

Ids of text are bytes end to end: the text of ids is their bytes, decoded. MASK is always the last row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crossover.files import digest_of

Ids = NDArray[np.unsignedinteger]


class Tokenizer(ABC):
    """A tokenizer.

    Args:
        name: as a study names it: `bytes`, `bpe:8192`, `hf:gpt2`.
        vocab_size: rows of the vocabulary V, BOS, EOS and MASK included.
        special: texts that stand for ids which are no text, by id; among them BOS, EOS and MASK.
    """

    def __init__(self, name: str, vocab_size: int, *, bos: int, eos: int, special: dict[int, str]) -> None:
        self.name, self.vocab_size, self.bos, self.eos, self.special = name, vocab_size, bos, eos, special
        self.mask = vocab_size - 1

    @abstractmethod
    def encode(self, text: str) -> Ids:
        """Ids of a text, without BOS and EOS; what spells a special token is text too. Shape (L,)."""

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """The bytes of an id; none of a special one."""

    @abstractmethod
    def hugging_face_json(self) -> dict[str, object]:
        """The Hugging Face `tokenizer.json`."""

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of several texts."""
        return [self.encode(text) for text in texts]

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of ids; special ones are dropped, invalid UTF-8 becomes U+FFFD."""
        return b"".join(self.token_bytes(int(token)) for token in tokens).decode("utf-8", errors="replace")

    def is_text(self, tokens: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether ids stand for text, of the shape of `tokens`."""
        return ~np.isin(tokens, list(self.special))

    def byte_count(self, tokens: NDArray[np.integer]) -> int:
        """Bytes of text that ids stand for; EOS, which is predicted too, counts as one."""
        return int(self._byte_lengths[tokens].sum())

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest type of stored ids."""
        return np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its `tokenizer.json`."""
        return digest_of(self.hugging_face_json())

    def hugging_face_config(self, max_length: int) -> dict[str, object]:
        """The Hugging Face `tokenizer_config.json`; without it, transformers loads Qwen's tokenizer."""
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.special[self.bos],
            "eos_token": self.special[self.eos],
            "mask_token": self.special[self.mask],
            "model_max_length": max_length,
            "clean_up_tokenization_spaces": False,
        }

    @cached_property
    def _byte_lengths(self) -> NDArray[np.int64]:
        lengths = np.array([len(self.token_bytes(token)) for token in range(self.vocab_size)], dtype=np.int64)
        lengths[self.eos] = 1
        return lengths
