"""Subword tokenizers of the library `tokenizers`: byte-level BPE trained on a corpus, or a tokenizer.json of bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crossover.errors import DataError
from crossover.extras import install_hint
from crossover.files import read_json
from crossover.tokenization.lossless_form import BYTE_TOKENS, is_byte_level, lossless_form
from crossover.tokenization.tokenizer import (
    TOKENIZER,
    TOKENIZER_CONFIG,
    Ids,
    Tokenizer,
    added_token,
    bos_first,
    byte_symbols,
)
from crossover.tokenization.tokenizer_file import OWN, SPECIAL_ROWS, open_file

if TYPE_CHECKING:
    import tokenizers

_LEADS = (0x810, *range(0x1010, 0x10000, 0x1000), 0x10010, *range(0x40010, 0x110000, 0x40000))
"""A character in NFC for each byte that begins one of three or four bytes."""
_PROBES = (
    "The zebra's  42 QX\n\t(Ünd)! ",
    " a  b",
    "\r\n世界 🙂\u2028",
    "a▁b ▁",
    *map(chr, (*range(256), *_LEADS)),
    *BYTE_TOKENS,
)
"""Texts that a tokenizer must give back."""


class SubwordTokenizer(Tokenizer):
    """A tokenizer of a tokenizer.json, in the form that `lossless_form` gives it.

    Args:
        name: as the study says it.
        value: its tokenizer.json, with all special tokens.
        special: texts of special tokens by id.
        bos: id of BOS.
        eos: id of EOS.

    Raises:
        DataError: it loses text, or `tokenizers` is missing.
    """

    def __init__(self, name: str, value: dict[str, Any], special: dict[int, str], bos: int, eos: int) -> None:
        self.name, self.special, self.bos, self.eos = name, special, bos, eos
        self._value = value
        self.mask = max(special)
        self.vocab_size = self.mask + 1
        self._encoder = _loaded(name, value, special)
        self._bytes = _bytes_of_tokens(value, special, self.vocab_size)
        for probe in (*_PROBES, *special.values()):
            if (found := self.decode(self.encode(probe))) != probe:
                raise _unsupported(name, f"it loses text: {probe!r} comes back as {found!r}")

    @classmethod
    def train(cls, rows: int, texts: Iterable[str]) -> SubwordTokenizer:
        """Byte-level BPE of texts; the same whatever the number of threads.

        Args:
            rows: of the vocabulary, BOS, EOS and MASK included.
            texts: of the training side only.

        Raises:
            DataError: the texts have fewer pairs to merge.
        """
        library = _library("bpe")
        trained = library.Tokenizer(library.models.BPE())
        trained.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        trained.decoder = library.decoders.ByteLevel()
        alphabet = sorted(byte_symbols().values())
        merged = rows - SPECIAL_ROWS
        trainer = library.trainers.BpeTrainer(vocab_size=merged, initial_alphabet=alphabet, show_progress=False)
        trained.train_from_iterator(texts, trainer)
        if (found := trained.get_vocab_size()) < merged:
            raise DataError(
                "data.vocabulary-too-large",
                field="data.tokenizer",
                problem=f"bpe:{rows} needs {merged - 256} merges, and the training documents have {found - 256}",
                remedy=f"lower it to bpe:{found + SPECIAL_ROWS} or add documents",
            )
        special = {merged + i: content for i, content in enumerate(OWN)}
        value = json.loads(trained.to_str())
        return cls(f"bpe:{rows}", _with_special(value, special, merged), special, merged, merged + 1)

    @classmethod
    def of_file(cls, name: str) -> SubwordTokenizer:
        """The tokenizer that `hf:NAME_OR_PATH` names, MASK appended, and BOS and EOS where it has none.

        Raises:
            DataError: there is none, or it loses text.
        """
        file = open_file(name)
        try:
            form = lossless_form(file.value)
        except ValueError as error:
            raise _unsupported(name, f"{error}{_example(name, file.value)}") from error
        found = cls(name, _with_special(form, file.special, file.bos), file.special, file.bos, file.eos)
        found.revision = file.revision
        return found

    @classmethod
    def read(cls, folder: Path) -> SubwordTokenizer:
        """The tokenizer of a dataset or a checkpoint, from its two files.

        Raises:
            DataError: they are not those of a tokenizer with BOS, EOS and MASK.
        """
        try:
            value, config = read_json(folder / TOKENIZER), read_json(folder / TOKENIZER_CONFIG)
            special = {int(t["id"]): str(t["content"]) for t in value["added_tokens"] if t["special"]}
            ids = {content: token for token, content in special.items()}
            bos, eos, mask = (ids[config[f"{kind}_token"]] for kind in ("bos", "eos", "mask"))
        except (KeyError, TypeError) as error:
            raise _unsupported(str(folder), f"its tokenizer lacks {error}") from error
        if mask != max(special):
            raise _unsupported(str(folder), "MASK is not its last row")
        return cls(str(config.get("name_in_study", folder)), value, special, bos, eos)

    def encode(self, text: str) -> NDArray[np.uint32]:
        """Token ids of a text, none of them special. Shape (L,)."""
        return np.asarray(self._encoder.encode(text, add_special_tokens=False).ids, dtype=np.uint32)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each text, by several threads."""
        found = self._encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.uint32) for encoding in found]

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of a token."""
        return self._bytes[token]

    @cached_property
    def _special_rows(self) -> NDArray[np.bool_]:
        rows = np.zeros(self.vocab_size, dtype=np.bool_)
        rows[list(self.special)] = True
        return rows

    def is_special(self, tokens: Ids) -> NDArray[np.bool_]:
        """True where a token is special. Of the shape of `tokens`."""
        found: NDArray[np.bool_] = self._special_rows[np.asarray(tokens, dtype=np.int64)]
        return found

    def hugging_face_json(self) -> dict[str, Any]:
        """Its tokenizer.json."""
        return self._value

    def hugging_face_config(self, max_length: int) -> dict[str, object]:
        """Its tokenizer_config.json; says also how the study names it."""
        return super().hugging_face_config(max_length) | {"name_in_study": self.name}


def _library(name: str) -> Any:  # noqa: ANN401 - a module without types
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise DataError(
            "data.tokenizers-missing",
            field="data.tokenizer",
            problem=f"{name} needs the package tokenizers",
            remedy=install_hint("tokenizers") or "install it",
        ) from error
    return tokenizers


def _from_json(name: str, value: dict[str, Any]) -> tokenizers.Tokenizer:
    library = _library(name)
    try:
        loaded: tokenizers.Tokenizer = library.Tokenizer.from_str(json.dumps(value))
    except Exception as error:  # the library raises no narrower class
        raise _unsupported(name, f"tokenizers cannot read it ({error})") from error
    return loaded


def _example(name: str, value: dict[str, Any]) -> str:
    """A text that the file as it is does not give back, for an error."""
    raw = _from_json(name, value)
    raw.encode_special_tokens = True
    for probe in _PROBES:
        ids = raw.encode(probe, add_special_tokens=False).ids
        if (found := raw.decode(ids, skip_special_tokens=False)) != probe:
            return f"; {probe!r} comes back as {found!r}"
    return ""


def _loaded(name: str, value: dict[str, Any], special: dict[int, str]) -> tokenizers.Tokenizer:
    """The tokenizer for encoding, to which special tokens are text like any other."""
    loaded = _from_json(name, value)
    ids = {str(token["content"]): int(token["id"]) for token in value["added_tokens"]}
    moved = [content for content, token in ids.items() if loaded.token_to_id(content) != token]
    if moved:
        raise _unsupported(name, f"the id of its token {moved[0]} is not the one that its file says")
    loaded.encode_special_tokens = True
    return loaded


def _with_special(value: dict[str, Any], special: dict[int, str], bos: int) -> dict[str, Any]:
    """A tokenizer.json with all special tokens, that puts BOS before each text."""
    kept = [token for token in value.get("added_tokens") or () if int(token["id"]) not in special]
    added = sorted((*kept, *(added_token(*item) for item in special.items())), key=lambda token: int(token["id"]))
    template = bos_first(bos, special[bos])
    model = value["model"] | {"dropout": None}
    return value | {
        "added_tokens": added,
        "post_processor": template,
        "truncation": None,
        "padding": None,
        "model": model,
    }


def _bytes_of_tokens(value: dict[str, Any], special: dict[int, str], rows: int) -> list[bytes]:
    """The bytes of each row; none of special and of unused rows."""
    byte_of = {symbol: byte for byte, symbol in byte_symbols().items()}
    byte_level = is_byte_level(value)
    found = [b""] * rows
    for text, token in value["model"]["vocab"].items():
        if token in special:
            continue
        if not byte_level:
            found[token] = BYTE_TOKENS.get(text) or text.encode()
        elif all(character in byte_of for character in text):
            found[token] = bytes(byte_of[character] for character in text)
    for token in value["added_tokens"]:
        if int(token["id"]) not in special:
            found[int(token["id"])] = str(token["content"]).encode()
    return found


def _unsupported(name: str, problem: str) -> DataError:
    return DataError(
        "data.unsupported-tokenizer",
        field="data.tokenizer",
        problem=f"{name}: {problem}",
        remedy="take BPE that is byte-level or has byte fallback, such as gpt2 or EleutherAI/gpt-neox-20b, or bpe:8192",
    )
