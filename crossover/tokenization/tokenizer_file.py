"""The value of `data.tokenizer`: what it names, how many rows it has, and what its digest is, without loading it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from crossover.errors import DataError

BYTES_ROWS = 259
SPECIAL_ROWS = 3
"""BOS, EOS and MASK."""
LEAST_BPE = 256 + SPECIAL_ROWS + 1
MOST_ROWS = 1 << 32
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
    return bpe_rows(name) or _read(name).rows


def tokenizer_identity(name: str) -> str:
    """What names the tokenizer in digests: of a file its content, not its path.

    Raises:
        DataError: there is no such tokenizer.
    """
    return f"hf:{_read(name).digest}" if name.startswith("hf:") else name


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

    @property
    def mask(self) -> int:
        """The last row."""
        return self.rows - 1


def open_file(name: str) -> TokenizerFile:
    """The file that `hf:NAME_OR_PATH` names.

    Raises:
        DataError: there is none, or it is no tokenizer.json.
    """
    return _read(name)


def _read(name: str) -> TokenizerFile:
    path = _find(name.removeprefix("hf:"))
    config = path.with_name("tokenizer_config.json")
    stamps = tuple(_stamp(file) for file in (path, config))
    return _parse(path, config, stamps)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=8)
def _parse(path: Path, config: Path, stamps: tuple[object, ...]) -> TokenizerFile:
    del stamps  # so that an altered file is read again
    try:
        text = path.read_text("utf-8")
        value = json.loads(text)
        named = _named(json.loads(config.read_text("utf-8"))) if config.is_file() else {}
        vocabulary = value["model"]["vocab"]
        added = {int(entry["id"]): entry for entry in value.get("added_tokens") or ()}
        top = max([*vocabulary.values(), *added]) if isinstance(vocabulary, dict) else len(vocabulary) - 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _fault(str(path), f"is no tokenizer.json ({type(error).__name__}: {error})") from error
    special = {token: str(entry["content"]) for token, entry in added.items() if entry.get("special")}
    bos, eos = (_choose(special, added, named.get(kind), names) for kind, names in (("bos", _BOS), ("eos", _EOS)))
    places = []
    for found, content in ((bos, OWN[0]), (eos, OWN[1]), (None, OWN[2])):
        if found is None:
            top += 1
            special[top] = _unused(content, special)
        places.append(top if found is None else found)
    digest = hashlib.sha256((text + json.dumps(named, sort_keys=True)).encode()).hexdigest()
    return TokenizerFile(value, special, places[0], places[1], top + 1, f"sha256:{digest}")


def _named(config: dict[str, Any]) -> dict[str, str]:
    """The texts of BOS and EOS in a tokenizer_config.json."""
    found = {kind: config.get(f"{kind}_token") for kind in ("bos", "eos")}
    texts = {kind: value.get("content") if isinstance(value, dict) else value for kind, value in found.items()}
    return {kind: text for kind, text in texts.items() if isinstance(text, str)}


def _choose(
    special: dict[int, str], added: dict[int, dict[str, Any]], named: str | None, usual: tuple[str, ...]
) -> int | None:
    """The id of BOS or EOS: the one that the configuration names, else one of a usual name."""
    ids = {str(entry["content"]): token for token, entry in added.items()}
    if named in ids:
        special[ids[named]] = named
        return ids[named]
    return next((ids[text] for text in usual if text in special.values()), None)


def _unused(content: str, special: dict[int, str]) -> str:
    """The text of a special token that is added here; another where the file has one of that text."""
    return content if content not in special.values() else content.replace("<|", "<|crossover-")


def _find(place: str) -> Path:
    path = Path(os.path.expanduser(place))
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return path
    if place.startswith((".", "/", "~")) or place.endswith(".json") or place.count("/") > 1:
        raise _fault(place, "there is no such file")
    return _from_hub(place)


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise _fault(name, "is no file, and huggingface_hub, which fetches names, is not installed") from error
    try:
        return Path(hf_hub_download(name, "tokenizer.json", local_files_only=True))
    except HFValidationError as error:
        raise _fault(name, f"is neither a file nor a name on the Hugging Face Hub ({error})") from error
    except LocalEntryNotFoundError:
        pass
    try:
        found = Path(hf_hub_download(name, "tokenizer.json"))
        with suppress(EntryNotFoundError):
            hf_hub_download(name, "tokenizer_config.json")
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _fault(name, f"is no file, and cannot be fetched from the Hugging Face Hub ({problem})") from error
    return found


def _fault(place: str, problem: str) -> DataError:
    return DataError(
        "data.no-tokenizer",
        field="data.tokenizer",
        problem=f"hf:{place} {problem}",
        remedy="name a tokenizer.json, a folder that holds one, or a name on the Hub that can be reached or is cached",
    )
