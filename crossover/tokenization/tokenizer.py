"""Tokenizers: text to token ids and back. This file has their interface and the byte tokenizer, which is the default.

Rows of the vocabulary include BOS, EOS and MASK; MASK is the last. `subword_tokenizer` has the other kinds, and
`tokenizer_lookup` finds either.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossover.files import digest_of_content

BOS, EOS, MASK = 256, 257, 258
"""Of the byte tokenizer."""
VOCAB_SIZE = 259
SPECIAL = {BOS: "<|bos|>", EOS: "<|eos|>", MASK: "<|mask|>"}
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
"""The names of a tokenizer's files, in a dataset and in a checkpoint."""
Ids = NDArray[np.integer]


class Tokenizer(ABC):
    """Text to token ids without loss: the bytes of a text's tokens, joined, are the bytes of the text."""

    name: str
    """As `data.tokenizer` of the study says it."""
    vocab_size: int
    """Rows, BOS, EOS and MASK included."""
    bos: int
    eos: int
    mask: int
    """The last row."""
    special: dict[int, str]
    """Special tokens, which no text becomes, and how they are shown."""
    revision: str = ""
    """The commit on the Hugging Face Hub that it was just read from; empty for all others."""

    @abstractmethod
    def encode(self, text: str) -> Ids:
        """Token ids of a text, none of them special, whatever the text spells. Shape (L,)."""

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each text."""
        return [self.encode(text) for text in texts]

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of a token, which may be part of a character; none of a special token."""

    def decode(self, tokens: Ids | Sequence[int]) -> str:
        """Text of token ids; special tokens are dropped, invalid UTF-8 becomes U+FFFD."""
        return b"".join(self.token_bytes(int(token)) for token in tokens).decode("utf-8", errors="replace")

    def is_special(self, tokens: Ids) -> NDArray[np.bool_]:
        """True where a token is special. Of the shape of `tokens`."""
        return np.isin(tokens, list(self.special))

    def count_bytes(self, tokens: Ids) -> int:
        """Bytes of text of these tokens."""
        return int(self._byte_counts[np.asarray(tokens, dtype=np.int64)].sum())

    @cached_property
    def _byte_counts(self) -> NDArray[np.int64]:
        return np.array([len(self.token_bytes(token)) for token in range(self.vocab_size)])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of token ids in files: uint16 up to 65,536 rows, else uint32."""
        return np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text of tokenizer.json."""
        return digest_of_content(self.json_text.encode())

    @cached_property
    def json_text(self) -> str:
        """The text of tokenizer.json."""
        return json.dumps(self.hugging_face_json(), indent=1, ensure_ascii=False) + "\n"

    @abstractmethod
    def hugging_face_json(self) -> dict[str, Any]:
        """The Hugging Face `tokenizer.json`; puts BOS before each text."""

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


class ByteTokenizer(Tokenizer):
    """256 bytes, then BOS, EOS and MASK. Every text has exactly one encoding."""

    name, vocab_size = "bytes", VOCAB_SIZE
    bos, eos, mask = BOS, EOS, MASK
    special = SPECIAL

    def encode(self, text: str) -> NDArray[np.uint16]:
        """Token ids of a text, its UTF-8 bytes. Shape (L,)."""
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)

    def token_bytes(self, token: int) -> bytes:
        """The byte of a token."""
        return bytes((token,)) if token < BOS else b""

    def decode(self, tokens: Ids | Sequence[int]) -> str:
        """Text of token ids; special tokens are dropped, invalid UTF-8 becomes U+FFFD."""
        return bytes(int(t) for t in tokens if t < BOS).decode("utf-8", errors="replace")

    def is_special(self, tokens: Ids) -> NDArray[np.bool_]:
        """True where a token is special. Of the shape of `tokens`."""
        found: NDArray[np.bool_] = np.asarray(tokens) >= BOS
        return found

    def hugging_face_json(self) -> dict[str, Any]:
        """Byte-level BPE without merges."""
        symbol = byte_symbols()
        vocabulary = {symbol[byte]: byte for byte in range(256)} | {name: id_ for id_, name in SPECIAL.items()}
        added = [added_token(id_, name) for id_, name in SPECIAL.items()]
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            },
            "post_processor": bos_first(BOS, SPECIAL[BOS]),
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": vocabulary, "merges": []},
        }


def byte_symbols() -> dict[int, str]:
    """The printable character that byte-level tokenizers write for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    substitutes = iter(range(0x100, 0x200))
    return {byte: chr(byte if byte in printable else next(substitutes)) for byte in range(256)}


def added_token(token: int, content: str) -> dict[str, object]:
    """The entry of a special token in the `added_tokens` of a tokenizer.json."""
    return {
        "id": token,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def bos_first(bos: int, content: str) -> dict[str, object]:
    """The `post_processor` of a tokenizer.json that puts BOS before each text."""
    first = {"SpecialToken": {"id": content, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {content: {"id": content, "ids": [bos], "tokens": [content]}},
    }


BYTES = ByteTokenizer()
