"""A tokenizer.json as it is used here: the same pieces and merges, without what its file changes of a text.

Two kinds of BPE write every text: byte-level, and byte fallback, as SentencePiece has it (Llama, Mistral, Gemma), whose
vocabulary writes a space as ▁ and characters that it does not have as tokens <0x00> to <0xFF>. A space that a file puts
in front of a text is left out, so that texts that are encoded one by one, joined, are the joined text. Where ▁ stands
for a space, the vocabulary gets the space itself: a text that spells ▁ comes back too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Part = dict[str, Any]
BYTE_TOKENS = {f"<0x{byte:02X}>": bytes((byte,)) for byte in range(256)}
"""Tokens of byte fallback."""
_KEEPING = ("Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext")
_AT_SPACES = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithNext", "invert": False}
_FUSED = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}


def lossless_form(value: Part) -> Part:
    """The tokenizer.json of which decoding gives every text back (in NFC, where its normalizer is NFC).

    Args:
        value: a tokenizer.json, or what this gave before, which stays as it is.

    Raises:
        ValueError: a part of it loses text.
    """
    model = value["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else "unknown")
    if kind != "BPE":
        raise ValueError(f"its model is {kind}, not BPE")
    if model.get("type") is None:
        value = value | {"model": model | {"type": kind}}
    value = _without_strip(value)
    return _byte_level(value) if is_byte_level(value) else _byte_fallback(value)


def is_byte_level(value: Part) -> bool:
    """Whether its pieces are written in the characters of `byte_symbols`."""
    return any(part["type"] == "ByteLevel" for part in _leaves(value.get("pre_tokenizer")))


def _leaves(part: Part | None) -> Iterator[Part]:
    """The parts of a normalizer or a pre-tokenizer that is a sequence of them."""
    if part is None:
        return
    inner = part.get("normalizers", part.get("pretokenizers")) if part["type"] == "Sequence" else None
    if inner is None:
        yield part
    for each in inner or ():
        yield from _leaves(each)


def _without_strip(value: Part) -> Part:
    """Without added tokens that swallow the blanks beside them."""
    added = value.get("added_tokens") or []
    if not any(token.get("lstrip") or token.get("rstrip") for token in added):
        return value
    return value | {"added_tokens": [token | {"lstrip": False, "rstrip": False} for token in added]}


def _byte_level(value: Part) -> Part:
    for part in _leaves(value.get("normalizer")):
        if part["type"] != "NFC":
            raise ValueError(f"its normalizer {part['type']} changes a text before it encodes it")
    for part in _leaves(value["pre_tokenizer"]):
        if part["type"] not in ("ByteLevel", "Digits", "UnicodeScripts") and part.get("behavior") not in _KEEPING:
            raise ValueError(f"its pre-tokenizer {part['type']} drops characters")
    if not any(part.get("add_prefix_space") for part in _leaves(value["pre_tokenizer"])):
        return value
    return value | {"pre_tokenizer": _without_prefix(value["pre_tokenizer"])}


def _without_prefix(part: Part) -> Part:
    if part["type"] == "Sequence":
        return part | {"pretokenizers": [_without_prefix(each) for each in part["pretokenizers"]]}
    return part | {"add_prefix_space": False} if "add_prefix_space" in part else part


def _byte_fallback(value: Part) -> Part:
    model = value["model"]
    if not model.get("byte_fallback") or not BYTE_TOKENS.keys() <= model["vocab"].keys():
        raise ValueError(
            "it is not byte-level and has no byte fallback with tokens <0x00> to <0xFF>: it drops characters"
        )
    if any("".join(_pair(merge)) in BYTE_TOKENS for merge in model.get("merges") or ()):
        raise ValueError("it merges text to a token of byte fallback, which decoding takes for a byte")
    kept, spaces = _normalizer(value.get("normalizer"))
    pre_tokenizer, more = _pre_tokenizer(value.get("pre_tokenizer"), spaces)
    form = value | {"normalizer": kept, "pre_tokenizer": pre_tokenizer, "decoder": _FUSED}
    for symbol in {*spaces, *more}:
        form = _with_spaces(form, symbol)
    return form


def _normalizer(part: Part | None) -> tuple[Part | None, list[str]]:
    """What stays of a normalizer, and what it writes for a space."""
    spaces, kept = [], None
    for each in _leaves(part):
        if each["type"] == "NFC":
            kept = each
        elif each["type"] == "Replace" and each.get("pattern") == {"String": " "} and len(each["content"]) == 1:
            spaces.append(str(each["content"]))
        elif each["type"] != "Prepend":
            raise ValueError(f"its normalizer {each['type']} changes a text before it encodes it")
    return kept, spaces


def _pre_tokenizer(part: Part | None, spaces: list[str]) -> tuple[Part | None, list[str]]:
    """A pre-tokenizer that reads spaces as they are, and what it wrote for a space."""
    written, kept = list(spaces), []
    for each in _leaves(part):
        pattern = each.get("pattern", {}).get("String") if each["type"] == "Split" else None
        if each["type"] == "Metaspace":
            symbol = str(each.get("replacement", "▁"))
            written.append(symbol)
            if each.get("split", True):
                kept.append(
                    {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithNext", "invert": False}
                )
        elif each["type"] == "Digits":
            kept.append(each)
        elif pattern is None or each.get("behavior") not in _KEEPING:
            raise ValueError(f"its pre-tokenizer {each['type']} drops characters or splits by a regular expression")
        elif not (written and " " in pattern):  # where spaces are written as ▁, no space is left to split at
            kept.append(each | {"pattern": {"String": _spaced(pattern, written)}})
    whole = kept[0] if len(kept) == 1 else {"type": "Sequence", "pretokenizers": kept}
    return (whole if kept else None), written


def _spaced(text: str, symbols: list[str]) -> str:
    for symbol in symbols:
        text = text.replace(symbol, " ")
    return text


def _with_spaces(value: Part, symbol: str) -> Part:
    """Its vocabulary, merges and added tokens with the space in place of what stands for it."""
    model, old = value["model"], value["model"]["vocab"]
    kept, added = set(), []
    for token in value.get("added_tokens") or ():
        text = str(token["content"])
        if symbol not in text or token.get("special"):
            kept.add(text)
        elif token.get("normalized"):
            token = token | {"content": text.replace(symbol, " ")}  # noqa: PLW2901 # the token as it is kept
        elif text in old:
            continue  # only a text that spells it would be the token
        else:
            kept.add(text)
        added.append(token)
    vocabulary = {text if text in kept else text.replace(symbol, " "): token for text, token in old.items()}
    if len(vocabulary) < len(old):
        raise ValueError(f"it has tokens with a space and the same ones with {symbol!r}")
    merges = [[text.replace(symbol, " ") for text in _pair(merge)] for merge in model.get("merges") or ()]
    return value | {"added_tokens": added, "model": model | {"vocab": vocabulary, "merges": merges}}


def _pair(merge: str | list[str]) -> list[str]:
    """The two pieces of a merge, which older files write with a space between."""
    return merge.split(" ") if isinstance(merge, str) else merge
