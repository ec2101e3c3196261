"""The value of `data.tokenizer`: what it names, how many rows it has, and what its digest is, without loading it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from crossover.errors import DataError
from crossover.tokenization.tokenizer_hub import from_hub, no_tokenizer
from crossover.tokenization.tokenizer_shape import check_shape

BYTES_ROWS = 259
SPECIAL_ROWS = 3
"""BOS, EOS and MASK."""
LEAST_BPE = 256 + SPECIAL_ROWS + 1
MOST_ROWS = 1 << 32
MOST_BYTES = 128 << 20
"""Of a tokenizer.json; the largest that are known have 35 MB."""
_BPE = re.compile(r"bpe:([1-9][0-9]*)")
_BOS = ("<|bos|>", "<|begin_of_text|>", "<|startoftext|>", "<s>", "<bos>", "<|endoftext|>")
_EOS = ("<|eos|>", "<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>")
OWN = ("<|bos|>", "<|eos|>", "<|mask|>")


def check_name(name: str) -> str:
    """The value, if it has one of the three forms.

    Raises:
        ValueError: it has none.
    """
    bpe = _BPE.fullmatch(name)
    if bpe and not LEAST_BPE <= int(bpe[1]) <= MOST_ROWS:
        raise ValueError(f"{name!r}: byte-level BPE has at least {LEAST_BPE} rows and at most {MOST_ROWS}")
    if not bpe and name != "bytes" and not (name.startswith("hf:") and len(name) > 3):
        raise ValueError(f"unknown tokenizer {name!r}; write bytes, bpe:ROWS such as bpe:8192, or hf:NAME_OR_PATH")
    return name


def bpe_rows(name: str) -> int | None:
    """Rows of a tokenizer that is trained on the corpus; None for the others."""
    found = _BPE.fullmatch(name)
    return int(found[1]) if found else None


def vocabulary_rows(name: str) -> int:
    """Rows of the model's embedding, BOS, EOS and MASK included.

    Raises:
        DataError: there is no such tokenizer.
    """
    if name == "bytes":
        return BYTES_ROWS
    return bpe_rows(name) or _facts(name).rows


def tokenizer_identity(name: str) -> str:
    """What names the tokenizer in digests: of a file its content, not its path.

    Raises:
        DataError: there is no such tokenizer.
    """
    return _facts(name).identity if name.startswith("hf:") else name


class TokenizerFacts(NamedTuple):
    """What digests and models take from the file that a study names."""

    identity: str
    """`hf:` and the digest of its content."""
    rows: int
    revision: str = ""
    """The commit on the Hub that it was read from; empty for a file."""


_KNOWN: dict[str, TokenizerFacts] = {}


def know_tokenizer(name: str, facts: TokenizerFacts | None) -> None:
    """From now on the file that `hf:NAME` names counts as this one, without a look at it; None: it is read again."""
    if facts is None:
        _KNOWN.pop(name, None)
    else:
        _KNOWN[name] = facts


def known_tokenizer(name: str) -> TokenizerFacts | None:
    """What `know_tokenizer` was told."""
    return _KNOWN.get(name)


def facts_of_file(name: str) -> TokenizerFacts:
    """What the file that `hf:NAME` names gives now.

    Raises:
        DataError: there is none, or it is no tokenizer.json.
    """
    found = open_file(name)
    return TokenizerFacts(f"hf:{found.digest}", found.rows, found.revision)


def _facts(name: str) -> TokenizerFacts:
    return _KNOWN.get(name) or facts_of_file(name)


class TokenizerFile(NamedTuple):
    """A tokenizer.json of somebody else, and the special tokens that it gets here."""

    value: dict[str, Any]
    special: dict[int, str]
    """All special tokens, those that are added here included."""
    bos: int
    eos: int
    rows: int
    digest: str
    """SHA-256 of the file, and of the configuration beside it where that names BOS or EOS."""
    revision: str = ""
    """The commit on the Hub; empty for a file."""

    @property
    def mask(self) -> int:
        """The last row."""
        return self.rows - 1


def open_file(name: str) -> TokenizerFile:
    """The file that `hf:NAME_OR_PATH` names.

    Raises:
        DataError: there is none, or it is no tokenizer.json.
    """
    path, config, revision = _find(name.removeprefix("hf:"))
    found = _parse(path, config, tuple(_stamp(file) for file in (path, config)))
    return found._replace(revision=revision)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=8)
def _parse(path: Path, config: Path, stamps: tuple[object, ...]) -> TokenizerFile:
    del stamps  # so that an altered file is read again
    text, value = _json_of(path)
    named = _named(config)
    try:
        check_shape(value)
    except ValueError as error:
        raise _malformed(path, str(error)) from error
    vocabulary, added = value["model"]["vocab"], {entry["id"]: entry for entry in value.get("added_tokens") or ()}
    top = max([*vocabulary.values(), *added] if isinstance(vocabulary, dict) else [len(vocabulary) - 1, *added])
    special = {token: str(entry["content"]) for token, entry in added.items() if entry.get("special")}
    ids = {str(entry["content"]): token for token, entry in added.items()}
    ids |= vocabulary if isinstance(vocabulary, dict) else {}
    bos, eos = (_choose(special, ids, named.get(kind), names) for kind, names in (("bos", _BOS), ("eos", _EOS)))
    places = []
    for found, content in ((bos, OWN[0]), (eos, OWN[1]), (None, OWN[2])):
        if found is None:
            top += 1
            special[top] = _unused(content, ids, special)
        places.append(top if found is None else found)
    digest = hashlib.sha256((text + json.dumps(named, sort_keys=True)).encode()).hexdigest()
    return TokenizerFile(value, special, places[0], places[1], top + 1, f"sha256:{digest}")


def _json_of(path: Path) -> tuple[str, Any]:
    """The text of a file, and its value."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise _malformed(path, f"it has {size:,} bytes, more than {MOST_BYTES:,}")
        text = path.read_text("utf-8")
        return text, json.loads(text)
    except OSError as error:
        raise no_tokenizer(str(path), f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"{type(error).__name__}: {error}") from error


def _named(config: Path) -> dict[str, str]:
    """The texts of BOS and EOS in a tokenizer_config.json, if there is one."""
    if not config.is_file():
        return {}
    value = _json_of(config)[1]
    if not isinstance(value, dict):
        raise _malformed(config, "it is no object")
    found = {kind: value.get(f"{kind}_token") for kind in ("bos", "eos")}
    texts = {kind: token.get("content") if isinstance(token, dict) else token for kind, token in found.items()}
    return {kind: text for kind, text in texts.items() if isinstance(text, str)}


def _choose(special: dict[int, str], ids: dict[str, int], named: str | None, usual: tuple[str, ...]) -> int | None:
    """The id of BOS or EOS: the one that the configuration names, else one of a usual name."""
    if named in ids:
        special[ids[named]] = named
        return ids[named]
    return next((ids[text] for text in usual if text in special.values()), None)


def _unused(content: str, ids: dict[str, int], special: dict[int, str]) -> str:
    """The text of a special token that is added here; another where the file has one of that text."""
    while content in ids or content in special.values():
        content = content.replace("<|", "<|crossover-")
    return content


def _find(place: str) -> tuple[Path, Path, str]:
    """The tokenizer.json, the tokenizer_config.json beside it, which need not exist, and their commit on the Hub."""
    try:
        path = Path(os.path.expanduser(place))
        if path.is_dir():
            path = path / "tokenizer.json"
        if path.is_file():
            return path, path.with_name("tokenizer_config.json"), ""
    except (OSError, ValueError) as error:
        raise no_tokenizer(place, f"is no path ({error})") from error
    if place.startswith((".", "/", "~")) or place.endswith(".json") or place.count("/") > 1:
        raise no_tokenizer(place, "there is no such file")
    return from_hub(place)


def _malformed(path: Path, problem: str) -> DataError:
    return DataError(
        "data.malformed-tokenizer",
        field="data.tokenizer",
        problem=f"{path} is no {path.name if path.name == 'tokenizer_config.json' else 'tokenizer.json'}: {problem}",
        remedy="mend the file, or get it again from where it was published",
    )
