"""TensorBoard's event files, read without TensorBoard: framed records of protocol buffers.

Record: length (8 bytes), masked CRC-32C of it (4), content, masked CRC-32C of the content (4); little-endian.
Content: an Event; the fields that a scalar needs are below, all others are passed over.
https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto: event, summary, tensor.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crossover.curve_files.table import error

_WALL_TIME, _STEP, _SUMMARY = 1, 2, 5  # of Event
_VALUE = 1  # of Summary
_TAG, _SIMPLE_VALUE, _TENSOR = 1, 2, 8  # of Summary.Value
_DTYPE, _CONTENT, _FLOATS, _DOUBLES = 1, 4, 5, 6  # of TensorProto
_FORMATS = {1: "f", 2: "d"}  # DT_FLOAT and DT_DOUBLE
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LARGEST_CHECKED = 1 << 16
"""Larger records are images, texts or histograms; their content is not checked."""


@dataclass(frozen=True)
class Scalar:
    """A scalar of one tag at one step."""

    tag: str
    step: int
    value: float
    time: float
    """Seconds since 1970."""


def read_events(file: Path) -> Iterator[Scalar]:
    """The scalars of an event file in the order in which they were written.

    A last record that is cut short ends the file: so does a process that was killed.

    Args:
        file: of TensorBoard, TensorFlow 1 or 2, or PyTorch's SummaryWriter.

    Raises:
        CurvesError: it is not an event file, or a record has another checksum than it was written with.
    """
    try:
        with file.open("rb") as stream:
            while len(head := stream.read(12)) == 12:
                length, check = struct.unpack("<QI", head)
                if check != masked_crc(head[:8]):
                    raise _damaged(file, stream.tell() - len(head))
                body = stream.read(length + 4)
                if len(body) < length + 4:
                    return
                content = body[:length]
                if length <= _LARGEST_CHECKED and struct.unpack("<I", body[length:])[0] != masked_crc(content):
                    raise _damaged(file, stream.tell() - len(body))
                yield from _scalars(content)
    except OSError as problem:
        raise error("unreadable", "FILE", f"{file}: {problem.strerror}", "name a readable folder") from problem
    except (struct.error, IndexError, UnicodeDecodeError) as problem:
        raise _damaged(file, 0) from problem


def _damaged(file: Path, place: int) -> Exception:
    problem = f"{file} is no event file of TensorBoard, or is damaged at byte {place:,}"
    return error("unreadable", "FILE", problem, "copy it again, or leave it out")


def _scalars(event: bytes) -> Iterator[Scalar]:
    step, time, summaries = 0, float("nan"), []
    for number, value in _fields(event):
        if number == _WALL_TIME and isinstance(value, bytes):
            (time,) = struct.unpack("<d", value)
        elif number == _STEP and isinstance(value, int):
            step = value - (1 << 64) if value >> 63 else value
        elif number == _SUMMARY and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for number, content in _fields(summary):
            if number == _VALUE and isinstance(content, bytes):
                tag, found = _value(content)
                if found is not None:
                    yield Scalar(tag, step, found, time)


def _value(content: bytes) -> tuple[str, float | None]:
    """A Summary.Value's tag, and its number if it is a scalar: a float, or a tensor of one element."""
    tag, found = "", None
    for number, value in _fields(content):
        if number == _TAG and isinstance(value, bytes):
            tag = value.decode()
        elif number == _SIMPLE_VALUE and isinstance(value, bytes):
            (found,) = struct.unpack("<f", value)
        elif number == _TENSOR and isinstance(value, bytes):
            found = _tensor(value)
    return tag, found


def _tensor(content: bytes) -> float | None:
    fields = dict(_fields(content))
    kind = _FORMATS.get(int(fields.get(_DTYPE, 0)) if isinstance(fields.get(_DTYPE, 0), int) else 0)
    if kind is None:
        return None
    held = fields.get(_CONTENT) or fields.get(_FLOATS if kind == "f" else _DOUBLES)
    if not isinstance(held, bytes) or len(held) != struct.calcsize(kind):
        return None
    return float(struct.unpack(f"<{kind}", held)[0])


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an int, or the bytes of what is longer or fixed."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise struct.error(f"no wire type {kind}")
        if place + size > len(message):
            raise struct.error("a field is cut short")
        yield number, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _crc_table() -> tuple[int, ...]:
    """Of CRC-32C (Castagnoli), reflected."""
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)  # noqa: PLW2901  # the loop computes in place
        table.append(crc)
    return tuple(table)


_CRC = _crc_table()


def masked_crc(content: bytes) -> int:
    """CRC-32C, rotated and with a constant added, as records of TensorFlow have it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
