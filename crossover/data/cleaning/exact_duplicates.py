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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossover.data.cleaning.cleaning_counts import RepeatCounts
from crossover.data.cleaning.normalisation import normalise, text_bytes
from crossover.data.document_spool import Document, DocumentSpool
from crossover.files import workspace_error
from crossover.settings import get_settings
from crossover.study.deduplication_config import DeduplicationConfig

PART_DIGESTS = 1 << 23
"""Digests that are sorted at once: about 400 MB of memory."""
_DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
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
        repeated = np.zeros(self._digests, dtype=bool)
        if not self._digests:
            return repeated
        digests = np.memmap(self._file, dtype=_DIGEST, mode="r", shape=(self._digests,))
        parts = -(-self._digests // PART_DIGESTS)
        for part in range(parts):
            positions = np.flatnonzero(digests["high"] % parts == part)
            own = digests[positions]
            order = np.lexsort((own["low"], own["high"]))  # stable: of equals the first stays first
            ordered = own[order]
            repeated[positions[order[1:][ordered[1:] == ordered[:-1]]]] = True
        return repeated

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()


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
    cut, shortest, position = _CUTS[config.exact], config.minimum_characters, 0
    with DocumentSpool() as spool:
        firsts = FirstOccurrences(get_settings().scratch_folder / "spools")
        for document in documents:
            spool.append(*document)
            firsts.add(unit.strip() for unit in cut.split(document.text)[::2] if len(unit.strip()) >= shortest)
        repeated = firsts.repeated()
        firsts.close()
        for document in spool:
            pieces = cut.split(document.text)
            for place in range(0, len(pieces), 2):
                if len(pieces[place].strip()) < shortest:
                    continue
                counts.units += 1
                if repeated[position]:
                    counts.units_dropped += 1
                    counts.bytes_dropped += text_bytes(pieces[place])
                    pieces[place] = ""
                    if place + 1 < len(pieces):
                        pieces[place + 1] = ""
                position += 1
            if text := normalise("".join(pieces)):
                yield document._replace(text=text)
            else:
                counts.documents_emptied += 1
