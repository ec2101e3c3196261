"""Documents kept on disk between two passes over a corpus, in spools and in the files of shards.

A spool is one file without a name in the scratch folder (CROSSOVER_SCRATCH): the system frees it when it is closed or
its process ends, kill -9 included, so that nothing is ever left to clean up. It holds frames of about a mebibyte of
documents, each compressed by zstandard, or by zlib where that is not installed; memory holds one frame and eight bytes
for each frame written.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from crossover.data.optional_modules import optional_module
from crossover.files import workspace_error
from crossover.settings import get_settings

FRAME_BYTES = 1 << 20
"""A frame is closed once it holds so many bytes, uncompressed; one document is never cut."""
_LENGTHS = struct.Struct("<IQI")
"""Bytes of name, text and attributes."""
_FRAME = struct.Struct("<Q")
"""Bytes of the compressed frame that follows."""
_ZSTANDARD = bytes.fromhex("28b52ffd")
"""What frames of zstandard begin with; those of zlib do not."""
_LEVEL = 1
NO_ATTRIBUTES: Mapping[str, str] = {}
SCORE, TIER = "quality", "tier"
"""Attributes of scored documents: the number, and the tier that it puts them in."""


class Document(NamedTuple):
    """A document on its way from its source to the tokens."""

    name: str
    text: str
    attributes: Mapping[str, str] = NO_ATTRIBUTES
    """What stages know of it, such as its language."""


class DocumentSpool:
    """Documents in the order in which they were appended; they may be iterated any number of times, also at once.

    Args:
        folder: where the file lies; default: `spools` in the scratch folder.

    Raises:
        WorkspaceError: the folder cannot be written; here, and in `append` when the disk is full.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or get_settings().scratch_folder / "spools"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix=".spool.")
        except OSError as error:
            raise workspace_error(self._folder, error) from error
        self._compress, self._decompress = _codec()
        self._ends = array("Q")
        self._frame, self._documents = bytearray(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Documents."""
        return self._documents

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk, without the frame that is not yet full."""
        return self._ends[-1] if self._ends else 0

    def append(self, name: str, text: str, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> None:
        """Add a document.

        Args:
            name: of the document.
            text: any text, half surrogates included.
            attributes: what is known of it.

        Raises:
            WorkspaceError: the disk is full.
        """
        _pack(self._frame, name, text, attributes)
        self._documents += 1
        if len(self._frame) >= FRAME_BYTES:
            self._store_frame()

    def __iter__(self) -> Iterator[Document]:
        """Every document that was appended before the iteration began."""
        last, start = bytes(self._frame), 0
        for end in list(self._ends):
            yield from _documents(self._decompress(os.pread(self._file.fileno(), end - start, start)))
            start = end
        yield from _documents(last)

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()

    def _store_frame(self) -> None:
        try:
            self._file.write(self._compress(bytes(self._frame)))
            self._file.flush()
        except OSError as error:
            raise workspace_error(self._folder, error) from error
        self._ends.append(self._file.tell())
        self._frame.clear()


class DocumentWriter:
    """Writes documents to a file, in compressed frames of which each stands after its length in bytes.

    Args:
        file: written from its place on; its errors are the operating system's.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._frame = file, bytearray()
        self._compress = _codec()[0]

    def append(self, name: str, text: str, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> None:
        """Add a document, as to a spool."""
        _pack(self._frame, name, text, attributes)
        if len(self._frame) >= FRAME_BYTES:
            self.close_frame()

    def close_frame(self) -> None:
        """Write what is not yet written; the last call."""
        if self._frame:
            stored = self._compress(bytes(self._frame))
            self._file.write(_FRAME.pack(len(stored)) + stored)
            self._frame.clear()


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file that a `DocumentWriter` wrote; memory holds one frame.

    Raises:
        DataError: the frames were compressed by zstandard, which is not installed here.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        while header := file.read(_FRAME.size):
            frame = file.read(_FRAME.unpack(header)[0])
            if frame.startswith(_ZSTANDARD):
                frame = optional_module("zstandard").ZstdDecompressor().decompress(frame)
            else:
                frame = zlib.decompress(frame)
            yield from _documents(frame)


def _pack(frame: bytearray, name: str, text: str, attributes: Mapping[str, str]) -> None:
    parts = [name.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")]
    parts.append(json.dumps(dict(attributes)).encode() if attributes else b"")
    frame += _LENGTHS.pack(*map(len, parts))
    for part in parts:
        frame += part


def _documents(frame: bytes) -> Iterator[Document]:
    position = 0
    while position < len(frame):
        lengths = _LENGTHS.unpack_from(frame, position)
        position += _LENGTHS.size
        parts = []
        for length in lengths:
            parts.append(frame[position : position + length])
            position += length
        name, text = (part.decode("utf-8", "surrogatepass") for part in parts[:2])
        yield Document(name, text, json.loads(parts[2]) if parts[2] else NO_ATTRIBUTES)


def _codec() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Compress and decompress one frame."""
    try:
        import zstandard
    except ImportError:
        return (lambda frame: zlib.compress(frame, _LEVEL)), zlib.decompress
    packer, unpacker = zstandard.ZstdCompressor(level=_LEVEL), zstandard.ZstdDecompressor()
    return packer.compress, unpacker.decompress
