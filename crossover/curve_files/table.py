"""Columns as they were read from a file: names as codes, numbers as float64, and where a row stands in the file.

Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crossover.errors import CurvesError

FloatArray = NDArray[np.float64]
NAMES = ("arm", "metric", "cell")
"""Columns that hold text."""
NUMBERS = ("seed", "tokens", "value", "flops", "seconds", "stderr", "step", "unique_tokens", "parameters")
NEEDED = ("arm", "seed", "tokens", "metric", "value")
_LISTED = 12


@dataclass(frozen=True)
class NameColumn:
    """Text of R rows as indexes into the distinct names."""

    code_R: NDArray[np.int32]
    names: tuple[str, ...]

    def text(self) -> NDArray[np.str_]:
        """The names, row by row."""
        return np.array(self.names or ("",), dtype=np.str_)[self.code_R]


@dataclass(frozen=True)
class Selection:
    """Which columns of a file to read; the others are named in `unused`."""

    names: tuple[str, ...]
    numbers: tuple[str, ...]
    unused: tuple[str, ...]


Select = Callable[[list[str]], Selection]
"""From a file's header to the columns to read; raises CurvesError when a needed one is not there."""


@dataclass(frozen=True)
class CurveTable:
    """A table of curves: one row a run, checkpoint and metric. What is unknown is NaN."""

    names: dict[str, NameColumn]
    numbers: dict[str, FloatArray]
    place: Callable[[int], str]
    """Where a row stands in the file, in words: `line 12`."""
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def rows(self) -> int:
        """R."""
        return len(self.names["arm"].code_R)

    def held(self, column: str) -> tuple[str, ...]:
        """The distinct names in a column, sorted."""
        return tuple(sorted(self.names[column].names)) if column in self.names else ()


def error(code: str, field: str, problem: str, remedy: str) -> CurvesError:
    """A CurvesError of this room."""
    return CurvesError(f"curves.{code}", field=field, problem=problem, remedy=remedy)


def listing(names: Iterable[str]) -> str:
    """Names for a message, at most a dozen: `'ar', 'dlm'`."""
    every = list(names)
    shown = ", ".join(repr(name) for name in every[:_LISTED])
    return f"{shown}, … ({len(every):,} in all)" if len(every) > _LISTED else shown or "none"


def header_of(raw: Iterable[str]) -> list[str]:
    """The header with blanks stripped.

    Raises:
        CurvesError: a name stands twice.
    """
    header = [name.strip() for name in raw]
    for name in header:
        if name and header.count(name) > 1:
            raise error("column-twice", name, f"stands {header.count(name)} times in the header", "keep one of them")
    return header


def select_long(header: list[str]) -> Selection:
    """The columns of a long table.

    Raises:
        CurvesError: a needed column is not there.
    """
    for name in NEEDED:
        if name not in header:
            raise missing(name, header, wide=name in ("metric", "value"))
    known = {*NAMES, *NUMBERS}
    return Selection(
        names=tuple(name for name in NAMES if name in header),
        numbers=tuple(name for name in NUMBERS if name in header),
        unused=tuple(name for name in header if name and name not in known),
    )


def missing(name: str, header: list[str], *, wide: bool = False) -> CurvesError:
    """The error of a column that is not there."""
    remedy = f"add or rename a column {name!r}"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        remedy = "separate the columns by commas"
    elif wide:
        remedy += "; a table with a column for each metric is read with --wide"
    return error("column-missing", name, f"no such column; the file has {listing(n for n in header if n)}", remedy)


def metric_needed(names: Iterable[str]) -> CurvesError:
    """The error when nobody has said which metric to test, and which side of it is better."""
    every = list(names)
    first = every[0] if every else "NAME"
    return error(
        "no-metric",
        "--metric",
        f"the file holds {listing(every)}, and no metric is named; which side of one is better is never guessed",
        f"write --metric '{first}:lower:DELTA' or --metric '{first}:higher:DELTA', where DELTA is the smallest "
        "difference that matters, once for each metric, or give --plan",
    )


def clean_names(column: str, codes: NDArray[np.int32], names: list[str], place: Callable[[int], str]) -> NameColumn:
    """Names with blanks around them stripped.

    Raises:
        CurvesError: a name is empty or has a control character in it; says the row.
    """
    stripped = [name.strip() for name in names]
    for code, name in enumerate(stripped):
        if not name or not name.isprintable():
            row = int(np.flatnonzero(codes == code)[0])
            problem = f"{place(row)} has no name" if not name else f"{place(row)} has an unprintable name {name[:40]!r}"
            raise error("bad-name", column, problem, "give every row a plain name")
    distinct = {name: i for i, name in enumerate(dict.fromkeys(stripped))}
    again = np.array([distinct[name] for name in stripped], dtype=np.int32)
    return NameColumn(again[codes] if len(codes) else codes, tuple(distinct))


def check_table(table: CurveTable) -> CurveTable:
    """The table, if it has rows, every row has its seed and its tokens, and nothing that was spent is infinite.

    Raises:
        CurvesError: says the column and the row.
    """
    if not table.rows:
        raise error("empty", "--curves", "the file has a header and no rows", "give a row per arm, seed and point")
    for name in ("seed", "tokens"):
        bad = np.flatnonzero(~np.isfinite(table.numbers[name]))
        if bad.size:
            problem = f"{table.place(int(bad[0]))} has no finite number"
            raise error("not-a-number", name, problem, f"give every row its {name}")
    for name in ("flops", "seconds", "step"):
        bad = np.flatnonzero(np.isinf(table.numbers.get(name, np.empty(0))))
        if bad.size:
            raise error("infinite", name, f"{table.place(int(bad[0]))} is infinite", "leave unknown ones empty")
    return table
