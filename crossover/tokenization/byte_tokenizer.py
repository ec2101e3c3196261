"""Byte-level tokenizer: 256 bytes, then BOS, EOS and MASK. Every text has exactly one encoding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crossover.tokenization.tokenizer import Ids, Tokenizer

BOS, EOS, MASK = 256, 257, 258
VOCAB_SIZE = 259
SPECIAL = {BOS: "<|bos|>", EOS: "<|eos|>", MASK: "<|mask|>"}


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes."""

    def __init__(self) -> None:
        super().__init__("bytes", VOCAB_SIZE, bos=BOS, eos=EOS, special=SPECIAL)

    def encode(self, text: str) -> Ids:
        """Its UTF-8 bytes. Shape (L,)."""
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)

    def token_bytes(self, token: int) -> bytes:
        """The byte; none of a special id."""
        return bytes((token,)) if token < BOS else b""

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of ids; special ones are dropped, invalid UTF-8 becomes U+FFFD."""
        return bytes(int(t) for t in tokens if t < BOS).decode("utf-8", errors="replace")

    def is_text(self, tokens: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether ids are bytes, of the shape of `tokens`."""
        return tokens < BOS

    def hugging_face_json(self) -> dict[str, object]:
        """The Hugging Face `tokenizer.json` of this tokenizer: byte-level BPE without merges."""
        return byte_level_json()


BYTES = ByteTokenizer()


def byte_symbols() -> dict[int, str]:
    """The printable character that byte-level BPE writes for each byte (GPT-2)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    substitutes = iter(range(0x100, 0x200))
    return {byte: chr(byte if byte in printable else next(substitutes)) for byte in range(256)}


def starting_with(bos: int, content: str) -> dict[str, object]:
    """The post-processor that puts BOS before each text."""
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": content, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [
            {"SpecialToken": {"id": content, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {content: {"id": content, "ids": [bos], "tokens": [content]}},
    }


def added_token(token: int, content: str) -> dict[str, object]:
    """An entry of `added_tokens`."""
    return {
        "id": token,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def byte_level_json() -> dict[str, object]:
    """The `tokenizer.json`, whose merges are empty."""
    vocabulary = {symbol: byte for byte, symbol in byte_symbols().items()}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(token, content) for token, content in SPECIAL.items()],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": False,
        },
        "post_processor": starting_with(BOS, SPECIAL[BOS]),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "vocab": vocabulary | {content: token for token, content in SPECIAL.items()},
            "merges": [],
        },
    }
