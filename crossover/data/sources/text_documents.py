"""Documents in text files and in files of JSON lines; memory is bounded by the longest document."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO, NamedTuple

from crossover.data.sources.bad_documents import BadDocument, not_text, not_utf8
from crossover.progress import MEBIBYTE
from crossover.study.data_config import DataConfig


class Scored(NamedTuple):
    """A document of a study that reads scores from a column."""

    text: bytes | str
    score: float


Piece = bytes | str | Scored | BadDocument
"""A document, as UTF-8 that is not checked yet or as text, with its score if one is read, or what is wrong with it."""
BOM = b"\xef\xbb\xbf"


def too_long(config: DataConfig) -> BadDocument:
    """What is said of a document above the limit."""
    return BadDocument("too long", f"is longer than {config.longest_document:,} bytes")


def plain_text(file: BinaryIO, config: DataConfig) -> Iterator[tuple[str, Piece]]:
    """The file as one document, or as several with the separator between them."""
    if config.separator:
        yield from _separated(file, config)
        return
    content = file.read(config.longest_document + 1)
    yield "", too_long(config) if len(content) > config.longest_document else content


def json_lines(file: BinaryIO, config: DataConfig) -> Iterator[tuple[str, Piece]]:
    """A document of each line that is not blank."""
    number = 0
    while line := file.readline(config.longest_document + 1):
        number += 1
        if len(line) > config.longest_document and not line.endswith(b"\n"):
            _skip_line(file)
            yield f":{number}", too_long(config)
        elif line.strip():
            yield f":{number}", json_document(line.removeprefix(BOM) if number == 1 else line, config)


def json_document(line: bytes, config: DataConfig) -> Piece:
    """The document in a JSON line."""
    try:
        fields = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return not_utf8(error, " of the line")
    except RecursionError:
        return BadDocument("too deep", "is nested too deeply")
    except ValueError as error:
        return BadDocument("malformed", f"is not JSON ({error})")
    if not isinstance(fields, dict):
        return BadDocument("malformed", "is not a JSON object")
    return document_of(fields, config)


def document_of(fields: dict[str, Any], config: DataConfig) -> Piece:
    """The text in the field that the study names, with the score where one is read."""
    try:
        text = _field(fields, config.text_field)
    except KeyError as error:
        return BadDocument("no text", error.args[0])
    if not isinstance(text, str):
        return not_text(config.text_field, text)
    if config.quality.scorer != "column":
        return text
    try:
        return with_score(text, _field(fields, config.quality.column), config)
    except KeyError as error:
        return BadDocument("no score", error.args[0])


def with_score(text: bytes | str, value: object, config: DataConfig) -> Scored | BadDocument:
    """A document with the number in its column of scores."""
    score = math.nan
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            score = float(value)
        except OverflowError:
            score = math.inf
        wrong = f"not finite ({value})"
    else:
        wrong = "null" if value is None else "not a number"
    if not math.isfinite(score):
        return BadDocument("no score", f"has {config.quality.column!r}, which is {wrong[:80]}")
    return Scored(text, score)


def _field(fields: dict[str, Any], field: str) -> object:
    """The value of a field; `a.b` is b within a, unless there is a field of that name. KeyError says what there is."""
    value: Any = fields
    for name in [field] if field in fields else field.split("."):
        if not isinstance(value, dict) or name not in value:
            known = ", ".join(map(repr, list(fields)[:10]))
            raise KeyError(f"has no field {field!r} (it has {known})")
        value = value[name]
    return value


def _skip_line(file: BinaryIO) -> None:
    while (piece := file.readline(MEBIBYTE)) and not piece.endswith(b"\n"):
        pass


def _separated(file: BinaryIO, config: DataConfig) -> Iterator[tuple[str, Piece]]:
    """Documents between separators; where one is too long, its beginning is dropped as soon as that is known."""
    delimiter = config.separator.replace("\r\n", "\n").replace("\r", "\n").encode()
    rest, number, dropping = b"", 1, False
    for chunk in _unix_lines(file):
        *pieces, rest = (rest + chunk).split(delimiter)
        for piece in pieces:
            bad = dropping or len(piece) > config.longest_document
            yield f"#{number}", too_long(config) if bad else piece
            number, dropping = number + 1, False
        if dropping or len(rest) > config.longest_document:
            dropping, rest = True, rest[-len(delimiter) :]  # a delimiter may have begun
    yield f"#{number}", too_long(config) if dropping else rest


def _unix_lines(file: BinaryIO) -> Iterator[bytes]:
    """Chunks of a file with newlines as line ends, as separators have them."""
    held = b""
    while chunk := file.read(MEBIBYTE):
        chunk = held + chunk
        held = b"\r" if chunk.endswith(b"\r") else b""
        yield (chunk[:-1] if held else chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    yield held.replace(b"\r", b"\n")
