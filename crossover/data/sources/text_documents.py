"""Documents in text files and in files of JSON lines; memory is bounded by the longest document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from crossover.data.sources.bad_documents import BadDocument, not_text, not_utf8
from crossover.progress import MEBIBYTE
from crossover.study.data_config import DataConfig

Piece = bytes | str | BadDocument
"""A document, as UTF-8 that is not checked yet or as text, or what is wrong with it."""
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
            yield f":{number}", json_text(line.removeprefix(BOM) if number == 1 else line, config.text_field)


def json_text(line: bytes, field: str) -> str | BadDocument:
    """The text in a JSON line."""
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
    return text_of(fields, field)


def text_of(fields: dict[str, Any], field: str) -> str | BadDocument:
    """The text in a field; `a.b` is b within a, unless there is a field of that name."""
    value: Any = fields
    for name in [field] if field in fields else field.split("."):
        if not isinstance(value, dict) or name not in value:
            known = ", ".join(map(repr, list(fields)[:10]))
            return BadDocument("no text", f"has no field {field!r} (it has {known})")
        value = value[name]
    return value if isinstance(value, str) else not_text(field, value)


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
        yield (chunk[:-1] if held else chunk).replace(b"\r\n", b"\n")
    yield held
