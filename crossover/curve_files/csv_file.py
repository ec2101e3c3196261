"""CSV to columns, in chunks of rows, by the standard library: quotes, BOM, CRLF and gzip as they come.

Numbers are what Python's `float` reads, with empty fields as NaN. Every complaint says the line of the file.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from crossover.curve_files.table import (
    CurveTable,
    FloatArray,
    Select,
    Selection,
    clean_names,
    error,
    header_of,
)

CHUNK_ROWS = 1 << 11
"""Rows parsed at once: few enough to stay in the processor's cache."""
LONGEST_LINE = 1 << 20
"""Characters. A longer line is no row of a table of curves."""
GZIP = b"\x1f\x8b"


def read_csv(path: Path, select: Select) -> CurveTable:
    """Read the selected columns of a CSV file.

    Args:
        path: a file, gzipped or not.
        select: says which columns to read, given the header.

    Raises:
        CurvesError: the file is empty, not UTF-8, not CSV, a row has more or fewer fields than the header, or a field
            of a number column is not a number; says the column or the line.
    """
    with _rows(path) as rows:
        header = header_of(next((row for row in rows if row), []))
        if not any(header):
            raise error("empty", "--curves", f"{path.name} has no header", "begin with the names of the columns")
        selection = select(header)
        reading = _Reading(path, header, selection)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            reading.take(chunk)
    return reading.table()


class _Codes(dict[str, int]):
    """Numbers names as they are first met."""

    def __missing__(self, name: str) -> int:
        self[name] = code = len(self)
        return code


class _Reading:
    """What has been read so far."""

    def __init__(self, path: Path, header: list[str], selection: Selection) -> None:
        self.path, self.header, self.selection = path, header, selection
        self.codes = {name: _Codes() for name in selection.names}
        self.name_codes = {name: array("i") for name in selection.names}
        self.numbers = {name: array("d") for name in selection.numbers}
        self.rows = 0

    def take(self, chunk: list[list[str]]) -> None:
        """Add rows; blank lines are no rows."""
        widths = set(map(len, chunk))
        if 0 in widths:
            chunk = [row for row in chunk if row]
        if widths - {0, len(self.header)}:
            self._refuse_widths(chunk)
        if not chunk:
            return
        columns = list(zip(*chunk, strict=True))
        for name, codes in self.codes.items():
            column = columns[self.header.index(name)]
            self.name_codes[name].extend(map(codes.__getitem__, column))
        for name, numbers in self.numbers.items():
            numbers.frombytes(self._numbers(name, columns[self.header.index(name)]).tobytes())
        self.rows += len(chunk)

    def _refuse_widths(self, chunk: list[list[str]]) -> None:
        row, fields = next((i, len(r)) for i, r in enumerate(chunk) if len(r) != len(self.header))
        problem = f"{self.place(self.rows + row)} has {fields} fields and the header has {len(self.header)}"
        raise error("ragged", "--curves", problem, "give every row as many fields; put names with commas in quotes")

    def _numbers(self, name: str, column: Sequence[str]) -> FloatArray:
        try:
            return np.fromiter(map(float, column), np.float64, len(column))
        except ValueError:
            filled = [text.strip() or "nan" for text in column]
        try:
            return np.fromiter(map(float, filled), np.float64, len(filled))
        except ValueError:
            row = next(i for i, text in enumerate(filled) if not _is_number(text))
            raise error(
                "not-a-number",
                name,
                f"{self.place(self.rows + row)} has {filled[row][:40]!r}, which is not a number",
                "write numbers as 1234.5 or 1e-3; leave unknown ones empty",
            ) from None

    def place(self, row: int) -> str:
        """The line of a row of data; the file is read again for it."""
        with _rows(self.path) as rows:
            filled = (rows.line_num for fields in rows if fields)
            return f"line {next(islice(filled, row + 1, None), row + 2)}"

    def table(self) -> CurveTable:
        """Everything read."""
        names = {
            name: clean_names(name, np.array(codes, dtype=np.int32), list(self.codes[name]), self.place)
            for name, codes in self.name_codes.items()
        }
        numbers = {name: np.frombuffer(column) if column else np.empty(0) for name, column in self.numbers.items()}
        return CurveTable(names, numbers, self.place, self.selection.unused)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Rows(Iterator[list[str]]):
    """Rows of a CSV file, with the number of the line last read; what cannot be read is a CurvesError."""

    def __init__(self, path: Path, file: io.TextIOWrapper) -> None:
        self._name = path.name
        self._reader = csv.reader(_lines(file), strict=True)

    @property
    def line_num(self) -> int:
        """The line last read, from 1."""
        return self._reader.line_num

    def __next__(self) -> list[str]:
        try:
            return next(self._reader)
        except UnicodeDecodeError as problem:
            byte = problem.object[problem.start]
            raise error(
                "not-utf-8",
                "--curves",
                f"{self._name} is not UTF-8 text: byte 0x{byte:02x} after line {self.line_num}",
                "save it as CSV in UTF-8",
            ) from problem
        except (csv.Error, EOFError, OSError, zlib.error) as problem:
            raise error(
                "unreadable",
                "--curves",
                f"{self._name}, after line {self.line_num}: {problem}",
                "mend it, or export it again",
            ) from problem


@contextmanager
def _rows(path: Path) -> Iterator[_Rows]:
    try:
        raw = path.open("rb")
    except OSError as problem:
        raise error("unreadable", "--curves", f"{path.name}: {problem.strerror}", "name a readable file") from problem
    with raw, gzip.open(raw) if raw.peek(2)[:2] == GZIP else raw as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        yield _Rows(path, text)


def _lines(file: io.TextIOWrapper) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            raise csv.Error(f"the line is longer than {LONGEST_LINE:,} characters")
        yield line
