"""Subword tokenizers by the `tokenizers` library: byte-level BPE trained on a corpus, or anybody's tokenizer.json.

BOS and EOS are the tokenizer's own where it has them and they differ; a missing one is appended, and MASK always, as
the last row. Only tokenizers that lose nothing are taken: the bytes of the ids of a text are the text's bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.errors import DataError
from crossover.extras import install_hint
from crossover.tokenization.byte_tokenizer import added_token, byte_symbols, starting_with
from crossover.tokenization.tokenizer import Ids, Tokenizer

if TYPE_CHECKING:
    pass

BOS, EOS, MASK = "<|bos|>", "<|eos|>", "<|mask|>"
OWN_ROWS = 3
"""Rows of BOS, EOS and MASK."""
_BOS_NAMES = (BOS, "<s>", "<|begin_of_text|>", "<|startoftext|>", "[CLS]", "<bos>")
_EOS_NAMES = (EOS, "</s>", "<|end_of_text|>", "<|endoftext|>", "[SEP]", "<eos>")
_BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_PROBES = ("The quick\nbrown  fox\t(42 %)!", " leading", "Grüße, 世界 🙂 ñ", "\x00\x7f\u2028", "a<|eos|>b<|mask|>")


class SubwordTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library.

    Args:
        name: as a study names it.
        content: a `tokenizer.json`.

    Raises:
        DataError: it is no tokenizer.json, or its ids lose something of a text.
    """

    def __init__(self, name: str, content: str) -> None:
        try:
            fields = _completed(json.loads(content))
            self._library = _library().Tokenizer.from_str(json.dumps(fields))
        except Exception as error:  # the library raises plain Exception
            raise _bad(name, f"is no tokenizer.json ({str(error).splitlines()[0][:200]})") from error
        self._library.encode_special_tokens = True
        special = {int(token["id"]): str(token["content"]) for token in fields["added_tokens"] if token["special"]}
        by_text = {text: token for token, text in special.items()}
        bos, eos = (next(by_text[text] for text in names if text in by_text) for names in (_BOS_NAMES, _EOS_NAMES))
        super().__init__(name, self._library.get_vocab_size(), bos=bos, eos=eos, special=special)
        self._json = fields | {"post_processor": starting_with(bos, special[bos])}
        self._bytes = [_bytes_of(self._library.id_to_token(token), fields) for token in range(self.vocab_size)]
        for token in special:
            self._bytes[token] = b""
        self._check(name)

    def encode(self, text: str) -> Ids:
        """Ids of a text, without BOS and EOS. Shape (L,)."""
        return np.array(self._library.encode(text, add_special_tokens=False).ids, dtype=self.dtype)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of several texts, on all cores."""
        encoded = self._library.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(one.ids, dtype=self.dtype) for one in encoded]

    def token_bytes(self, token: int) -> bytes:
        """The bytes of an id; none of a special one."""
        return self._bytes[token]

    def hugging_face_json(self) -> dict[str, object]:
        """The Hugging Face `tokenizer.json`."""
        return self._json

    def _check(self, name: str) -> None:
        if self.special.get(self.mask) != MASK:
            raise _bad(name, f"has {self.special.get(self.mask)!r} and no {MASK} as its last row")
        for probe in _PROBES:
            ids = self.encode(probe)
            if b"".join(self._bytes[token] for token in ids) != probe.encode():
                raise _bad(name, f"loses text: {probe!r} comes back as {self.decode(ids)!r}")


def train_bpe(texts: Iterable[str], rows: int) -> SubwordTokenizer:
    """Byte-level BPE (Sennrich et al. 2016, arXiv 1508.07909; on bytes as GPT-2) of so many rows in all.

    Args:
        texts: the training documents, read once.
        rows: of the vocabulary, BOS, EOS and MASK included.

    Raises:
        DataError: the texts are too short for so many rows.
    """
    library = _library()
    trained = library.Tokenizer(library.models.BPE())
    trained.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    trained.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=rows - OWN_ROWS,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        special_tokens=[],
    )
    trained.train_from_iterator(texts, trainer)
    found = trained.get_vocab_size() + OWN_ROWS
    if found < rows:
        raise DataError(
            "data.vocabulary-too-large",
            field="data.tokenizer",
            problem=f"the training documents yield {found:,} of the {rows:,} rows of bpe:{rows}",
            remedy=f"lower it to at most bpe:{found}, or add documents",
        )
    return SubwordTokenizer(f"bpe:{rows}", trained.to_str())


def read_tokenizer(name: str, place: str) -> SubwordTokenizer:
    """A tokenizer.json: a file, a folder that holds one, or of a repository on the Hugging Face hub.

    Raises:
        DataError: there is none.
    """
    path = Path(place).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        return SubwordTokenizer(name, file.read_text("utf-8"))
    if path.is_absolute() or place.startswith((".", "~")) or place.count("/") > 1 or place.endswith(".json"):
        raise _bad(name, f"names no file: {place} does not exist")
    try:
        return SubwordTokenizer(name, _library().Tokenizer.from_pretrained(place).to_str())
    except DataError:
        raise
    except Exception as error:  # the library raises plain Exception
        raise _bad(name, f"cannot be had from the hub ({str(error).splitlines()[0][:200]})") from error


def _library() -> Any:  # noqa: ANN401 - a module, which stubs do not cover
    try:
        import tokenizers
    except ImportError as error:
        raise DataError(
            "data.tokenizers-missing",
            field="data.tokenizer",
            problem="subword tokenizers need a package that is not installed",
            remedy=install_hint("tokenizers", ["data"]) or "pip install tokenizers",
        ) from error
    return tokenizers


def _completed(fields: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer.json with BOS, EOS and MASK, none of whose settings truncates or pads."""
    added, vocabulary = list(fields.get("added_tokens") or []), fields["model"]["vocab"]
    ids = [*vocabulary.values()] if isinstance(vocabulary, dict) else range(len(vocabulary))
    rows = max([*ids, *(token["id"] for token in added)], default=-1) + 1
    known = {token["content"] for token in added if token["special"]}
    eos = next((name for name in _EOS_NAMES if name in known), None)
    missing = [] if any(name in known and name != eos for name in _BOS_NAMES) else [BOS]
    missing += [] if eos else [EOS]
    missing += [] if MASK in known else [MASK]
    added += [added_token(rows + index, content) for index, content in enumerate(missing)]
    return fields | {"added_tokens": added, "truncation": None, "padding": None}


def _bytes_of(token: str, fields: dict[str, Any]) -> bytes:
    """The bytes that a token stands for, by how the tokenizer decodes."""
    if "ByteLevel" in json.dumps([fields.get("decoder"), fields.get("pre_tokenizer")]):
        try:
            return bytes(_FROM_SYMBOL[symbol] for symbol in token)
        except KeyError:
            return token.encode()
    if fallback := _BYTE_FALLBACK.fullmatch(token):
        return bytes.fromhex(fallback.group(1))
    return token.replace("▁", " ").encode()


_FROM_SYMBOL = {symbol: byte for byte, symbol in byte_symbols().items()}


def _bad(name: str, problem: str) -> DataError:
    return DataError(
        "data.bad-tokenizer",
        field="data.tokenizer",
        problem=f"{name} {problem}",
        remedy="give `bytes`, `bpe:ROWS`, or `hf:` with a byte-level tokenizer.json, its folder, or its hub name",
    )
