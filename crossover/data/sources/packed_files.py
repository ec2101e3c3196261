"""Compressed files, by the ends of their names: unpacked as they are read, and bounded."""

from __future__ import annotations

import gzip
import io
import lzma
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from crossover.data.optional_modules import optional_module
from crossover.progress import MEBIBYTE

PACKED = (".gz", ".xz", ".zst")
MOST_EXPANSION = 200
"""Bytes that a stored byte may become. Text becomes 3 to 10, logs up to 100; a zip bomb 1,000 (gzip) and more."""
ALWAYS_ALLOWED = 64 * MEBIBYTE
"""Bytes that every file may become."""
_STEP = 1 << 16
"""Bytes that are unpacked at once."""
_XZ = b"\xfd7zXZ\0"
_AFTER_ITS_END = "something else stands after its end"


def kind_of(name: str) -> str:
    """The end of a file's name, with that of its packing: `.txt`, `.jsonl.gz`."""
    suffixes = PurePosixPath(name).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] and suffixes[-1] in PACKED else suffixes[-1:])


def unpacked(name: str, stored: BinaryIO) -> BinaryIO:
    """A file's bytes, decompressed where its name ends with `.gz`, `.xz` or `.zst`.

    Reading raises OSError, EOFError, zlib.error or LZMAError where the file is torn or altered, and OSError where it
    expands beyond all reason.

    Args:
        name: of the file.
        stored: its bytes; the stream can seek.

    Raises:
        DataError: what unpacks `.zst` is not installed.
    """
    suffix = PurePosixPath(name).suffix
    if suffix not in PACKED:
        return stored
    size = stored.seek(0, io.SEEK_END)
    stored.seek(0)
    if suffix == ".gz":
        inner = cast(BinaryIO, gzip.open(stored, "rb"))
    elif suffix == ".xz":
        inner = cast(BinaryIO, _XzStreams(stored))
    else:
        inner = cast(BinaryIO, _ZstdFrames(stored))
    return cast(BinaryIO, io.BufferedReader(_Bounded(inner, max(ALWAYS_ALLOWED, MOST_EXPANSION * size)), MEBIBYTE))


class _XzStreams:
    """The streams of an `.xz` file, one after the other; `lzma.open` ends without a word where it finds none."""

    def __init__(self, stored: BinaryIO) -> None:
        self._stored, self._stream = stored, lzma.LZMADecompressor()

    def read1(self, most: int) -> bytes:
        while True:
            if self._stream.eof:
                packed = self._next_stream()
                if not packed:
                    return b""
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)
            else:
                packed = self._stored.read(_STEP) if self._stream.needs_input else b""
                if self._stream.needs_input and not packed:
                    raise EOFError("it ends within a stream")
            if piece := self._stream.decompress(packed, most):
                return piece

    def _next_stream(self) -> bytes:
        """What stands after a stream and its padding of zeros; nothing at the end of the file."""
        packed = self._stream.unused_data.lstrip(b"\0")
        while not packed and (block := self._stored.read(_STEP)):
            packed = block.lstrip(b"\0")
        if not _XZ.startswith(packed[: len(_XZ)]):
            raise EOFError(_AFTER_ITS_END)
        return packed

    def close(self) -> None:
        """The file is its opener's."""


class _ZstdFrames:
    """The frames of a `.zst` file; pyarrow gives nothing of what it read together with something that is no frame."""

    def __init__(self, stored: BinaryIO) -> None:
        self._arrow, self._stored, self._given, self._ended = optional_module("pyarrow"), stored, 0, False
        self._stream = self._opened()

    def _opened(self) -> Any:  # noqa: ANN401  # pyarrow has no types
        return self._arrow.CompressedInputStream(self._arrow.PythonFile(self._stored, "r"), "zstd")

    def read1(self, most: int) -> bytes:
        if self._ended:
            raise EOFError(_AFTER_ITS_END)
        try:
            piece: bytes = self._stream.read1(most)
        except OSError as error:
            if "Unknown frame descriptor" not in str(error):
                raise
            piece = self._before_no_frame()
            if not piece and not self._given:
                raise
            self._ended = True
            if not piece:
                raise EOFError(_AFTER_ITS_END) from error
        self._given += len(piece)
        return piece

    def _before_no_frame(self) -> bytes:
        """What stands between the bytes that were given and what is no frame: unpacked anew, at the end one by one."""
        self._stored.seek(0)
        self._failed, self._stream = self._stream, self._opened()  # the file would be closed with the former
        left, piece = self._given, b""
        while left:
            left -= len(self._stream.read1(min(_STEP, left)))
        try:
            while byte := self._stream.read1(1):
                piece += byte
        except OSError:
            return piece
        return piece

    def close(self) -> None:
        """The file is its opener's."""


class _Bounded(io.RawIOBase):
    """A stream that gives up after so many bytes.

    What was unpacked before a tear is given, and the next read raises the tear. Where a stream was altered, nothing is
    given of what was read together with the fault.
    """

    def __init__(self, inner: BinaryIO, most: int) -> None:
        self._inner, self._most, self._given = inner, most, 0
        self._tear: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # the buffers that are passed here
        filled = 0
        while filled < len(buffer) and (piece := self._piece(min(_STEP, len(buffer) - filled), filled)):
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._given += len(piece)
            if self._given > self._most:
                raise OSError(f"it unpacks to more than {self._most:,} bytes; if that is meant, unpack it yourself")
        return filled

    def _piece(self, most: int, filled: int) -> bytes:
        """The next bytes; none where the stream ends, or is torn and something before it is still to be given."""
        try:
            if self._tear is None:
                return bytes(self._inner.read1(most))  # type: ignore[attr-defined]  # every stream that unpacks has it
        except EOFError as error:
            self._tear = error
        except gzip.BadGzipFile as error:
            if not self._given or "Not a gzipped" not in str(error):
                raise
            self._tear = OSError(_AFTER_ITS_END)
        if filled:
            return b""
        raise self._tear

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()
