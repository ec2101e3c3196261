"""Of equal documents, paragraphs and lines the first in the order of the source stays: of position, not of arrival.

Documents are compared as they pass; memory holds 16 bytes of SHA-256 of each, with Python's set about 100 bytes a
document. Paragraphs and lines are many more: their digests go to a file without a name, in the order of the source,
and are sorted in parts of bounded memory, which leaves one byte for each. So the documents are read twice, the second
time from a spool.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossover.data.cleaning.cleaning_counts import RepeatCounts
from crossover.data.cleaning.normalisation import normalise, text_bytes
from crossover.data.document_spool import Document, DocumentSpool
from crossover.files import workspace_error
from crossover.settings import get_settings
from crossover.study.deduplication_config import DeduplicationConfig

PART_DIGESTS = 1 << 22
"""Digests that are sorted at once: about 200 MB of memory."""
DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
"""Of a text: the first 16 bytes of its SHA-256."""
_CUTS = {"line": re.compile(r"(\n)"), "paragraph": re.compile(r"(\n{2,})")}
"""Splits keep what stands between units, so that joining gives the text back."""


def text_digest(text: str) -> bytes:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).digest()


class FirstOccurrences:
    """Which of many digests stood before, with bounded memory.

    Args:
        folder: where the digests lie until they are compared, 16 bytes each.

    Raises:
        WorkspaceError: the folder cannot be written, or the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".digests.")
        except OSError as error:
            raise workspace_error(folder, error) from error
        self._digests = 0

    def add(self, units: Iterable[str]) -> None:
        """Add units, in the order that decides which is first."""
        digests = [hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest()[:16] for unit in units]
        try:
            self._file.write(b"".join(digests))
        except OSError as error:
            raise workspace_error(self._folder, error) from error
        self._digests += len(digests)

    def repeated(self) -> NDArray[np.bool_]:
        """Of each unit, in their order, whether it stood before. Shape (units,)."""
        self._file.flush()
        if not self._digests:
            return np.zeros(0, dtype=bool)
        return repeated_digests(np.memmap(self._file, dtype=DIGEST, mode="r", shape=(self._digests,)))

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()


def repeated_digests(digests: NDArray[np.void]) -> NDArray[np.bool_]:
    """Of each digest, whether an equal one stands before it. Shape (digests,).

    Args:
        digests: of type DIGEST; an array in memory, or mapped to it. Shape (digests,).
    """
    repeated = np.zeros(len(digests), dtype=bool)
    parts = -(-len(digests) // PART_DIGESTS)
    for part in range(parts):
        positions = np.flatnonzero(digests["high"] % parts == part)
        repeated[positions[_repeated(digests[positions])]] = True
    return repeated


def _repeated(digests: NDArray[np.void]) -> NDArray[np.int64]:
    """Places of digests that stood before. Only those that agree in their first half are compared whole."""
    order = np.argsort(digests["high"])
    high = digests["high"][order]
    equal = np.flatnonzero(high[1:] == high[:-1])
    places = np.sort(order[np.union1d(equal, equal + 1)])
    near = digests[places]
    grouped = np.lexsort((near["low"], near["high"]))  # stable: of equals the first stays first
    again: NDArray[np.int64] = places[grouped[1:][near[grouped[1:]] == near[grouped[:-1]]]]
    return again


def drop_repeated_units(
    documents: Iterable[Document], config: DeduplicationConfig, counts: RepeatCounts
) -> Iterator[Document]:
    """Take from each document the paragraphs or lines that stood before, in it or in another.

    Args:
        documents: in the order that decides which is first.
        config: the unit, and how long it must be to count.
        counts: updated.

    Yields:
        What is left of each document, if anything.

    Raises:
        WorkspaceError: the scratch folder cannot be written, or the disk is full.
    """
    cut, shortest = _CUTS[config.exact], config.minimum_characters
    folder = get_settings().scratch_folder / "spools"
    with DocumentSpool(folder) as spool, closing(FirstOccurrences(folder)) as firsts:
        for document in documents:
            spool.append(*document)
            units = (unit.strip() for unit in cut.split(document.text)[::2])
            firsts.add(unit for unit in units if len(unit) >= shortest)
        repeated = iter(firsts.repeated())
        for document in spool:
            pieces = cut.split(document.text)
            for place in range(0, len(pieces), 2):
                if len(pieces[place].strip()) >= shortest:
                    counts.units += 1
                    if next(repeated):
                        _drop_unit(pieces, place, counts)
            if text := normalise("".join(pieces)):
                yield document._replace(text=text)
            else:
                counts.documents_emptied += 1


def _drop_unit(pieces: list[str], place: int, counts: RepeatCounts) -> None:
    """Empty a unit and what stands between it and the next one."""
    counts.units_dropped += 1
    counts.bytes_dropped += text_bytes(pieces[place])
    pieces[place : place + 2] = ["", ""][: len(pieces) - place]
