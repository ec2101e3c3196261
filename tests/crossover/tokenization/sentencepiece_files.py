"""A tokenizer.json in the ways that SentencePiece's BPE with byte fallback is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from crossover.files import write_json
from crossover.tokenization.lossless_form import BYTE_TOKENS
from crossover.tokenization.subword_tokenizer import SubwordTokenizer
from crossover.tokenization.tokenizer import TOKENIZER

TEXTS = [f"the {word} and the {word}s of {n} grünen 😀 hills\n" for n in range(40) for word in ("old", "green", "sea")]
SPACED = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
STYLES: dict[str, dict[str, Any]] = {
    "llama": {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, SPACED]},
        "pre_tokenizer": None,
    },
    "mistral": {
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    },
    "gemma": {
        "normalizer": SPACED,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
    },
    "words": {
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    },
}
"""Llama 2, later Llama and Mistral, Gemma, and one that is split at spaces."""


def _trained(rows: int = 420) -> dict[str, Any]:
    trained = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))  # noqa: S106 # a token of text
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *BYTE_TOKENS]
    trained.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=rows, special_tokens=special, show_progress=False)
    )
    value: dict[str, Any] = json.loads(trained.to_str())
    value["added_tokens"] = value["added_tokens"][:3]
    decoders = [SPACED | {"pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    value["decoder"] = {"type": "Sequence", "decoders": [*decoders, strip]}
    return value


VALUE = _trained()


def sentencepiece_file(folder: Path, style: str = "llama", **changes: object) -> Path:
    """The file, as it is published."""
    write_json(folder / TOKENIZER, VALUE | STYLES[style] | changes)
    return folder / TOKENIZER


def sentencepiece(folder: Path, style: str = "llama") -> SubwordTokenizer:
    """The tokenizer of the file."""
    return SubwordTokenizer.of_file(f"hf:{sentencepiece_file(folder, style)}")
