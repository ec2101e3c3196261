"""Byte-level tokenizer: 256 bytes, then BOS, EOS and MASK. Every text has exactly one encoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BOS, EOS, MASK = 256, 257, 258
VOCAB_SIZE = 259
SPECIAL = {BOS: "<|bos|>", EOS: "<|eos|>", MASK: "<|mask|>"}


def encode(text: str) -> NDArray[np.uint16]:
    """Token ids of a text, its UTF-8 bytes, without BOS and EOS. Shape (L,)."""
    return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)


def decode(tokens: NDArray[np.integer] | list[int]) -> str:
    """Text of token ids; special tokens are dropped, invalid UTF-8 becomes U+FFFD."""
    return bytes(int(t) for t in tokens if t < BOS).decode("utf-8", errors="replace")


def hugging_face_config(max_length: int) -> dict[str, object]:
    """The Hugging Face `tokenizer_config.json`; without it, transformers loads Qwen's tokenizer."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[BOS],
        "eos_token": SPECIAL[EOS],
        "mask_token": SPECIAL[MASK],
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
    }


def hugging_face_json() -> dict[str, object]:
    """The Hugging Face `tokenizer.json` of this tokenizer: byte-level BPE without merges."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    substitutes = iter(range(0x100, 0x200))
    symbol = {byte: chr(byte if byte in printable else next(substitutes)) for byte in range(256)}
    vocabulary = {symbol[byte]: byte for byte in range(256)} | {name: id_ for id_, name in SPECIAL.items()}
    added = [
        {
            "id": id_,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for id_, name in SPECIAL.items()
    ]
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
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": SPECIAL[BOS], "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [
                {"SpecialToken": {"id": SPECIAL[BOS], "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {SPECIAL[BOS]: {"id": SPECIAL[BOS], "ids": [BOS], "tokens": [SPECIAL[BOS]]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": vocabulary, "merges": []},
    }
