"""Hashed n-grams of a text, in numpy, without an object for each word.

Shapes: B bytes of a text in UTF-8, U units (words or characters), S n-grams. All hashes are uint64 and the same on
every machine. A word is a run of ASCII letters, digits and underscores, and of all that is not ASCII and no
punctuation; case is ignored.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Unit = Literal["words", "characters"]
Hashes = NDArray[np.uint64]

_BLOCK = 1 << 17
"""Bytes whose hashes are summed at once: the arrays stay in the cache."""
_BASE = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2^64."""
_WORD_BYTE = np.array(
    [byte >= 0x80 or chr(byte) in string.ascii_letters + string.digits + "_" for byte in range(256)], dtype=np.bool_
)
_SPACES = np.array([ord(c) for c in " \t\n\r\f\v\u00a0\u2028\u2029\u3000"], dtype=np.uint32)


class _Tables(NamedTuple):
    """Constants of the polynomial hash of a word's bytes."""

    letter: Hashes
    """A random number for each byte. Shape (256,)."""
    power: Hashes
    """Powers of the base. Shape (_BLOCK,)."""
    inverse: Hashes
    """Powers of its inverse. Shape (_BLOCK,)."""


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    def powers(base: int) -> Hashes:
        factors = np.full(_BLOCK, base, dtype=np.uint64)
        factors[0] = 1
        return np.cumprod(factors, dtype=np.uint64)

    return _Tables(mixed(np.arange(1, 257, dtype=np.uint64)), powers(_BASE), powers(pow(_BASE, -1, 1 << 64)))


def mixed(values: Hashes) -> Hashes:
    """Hash numbers: the finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection of 64 bits."""
    values = values + np.uint64(_BASE)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(factor)
    values ^= values >> np.uint64(31)
    return values


def unit_hashes(texts: Sequence[str], unit: Unit) -> tuple[Hashes, NDArray[np.int64]]:
    """Hash every word, or every character that is no white space, of some texts.

    Returns:
        The hashes of all texts end to end, shape (U,), and the number of the text that each is of, shape (U,).
    """
    encoding = "utf-8" if unit == "words" else "utf-32-le"
    encoded = [f"{text.lower()}\n".encode(encoding, "surrogatepass") for text in texts]
    joined = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    ends = np.cumsum([len(text) for text in encoded])
    if unit == "words":
        places, hashes = _word_hashes(joined, all(text.isascii() for text in texts))
    else:
        points = joined.view(np.uint32)
        places = np.flatnonzero(~np.isin(points, _SPACES))
        hashes = mixed(points[places].astype(np.uint64))
        ends //= points.itemsize
    return hashes, np.searchsorted(ends, places, side="right")


def ngram_hashes(units: Hashes, owners: NDArray[np.int64], size: int) -> tuple[Hashes, NDArray[np.int64]]:
    """A hash for each run of `size` units of one text, and the number of that text. Shapes (S,)."""
    count = max(0, len(units) - size + 1)
    total = np.zeros(count, dtype=np.uint64)
    for k in range(size if count else 0):
        total *= np.uint64(_BASE)
        total += units[k : k + count]
    within = owners[:count] == owners[len(owners) - count :]
    return mixed(total[within]), owners[:count][within]


def shingles(texts: Sequence[str], unit: Unit, size: int) -> tuple[Hashes, NDArray[np.int64]]:
    """The n-grams by which texts are compared; a text of fewer units has one of them all, one of none has none.

    Returns:
        Hashes and the number of the text that each is of, in the order of the texts. Shapes (S,).
    """
    units, owners = unit_hashes(texts, unit)
    hashes, of_text = ngram_hashes(units, owners, size)
    lengths = np.bincount(owners, minlength=len(texts))
    short = np.flatnonzero((lengths > 0) & (lengths < size))
    if not len(short):
        return hashes, of_text
    ends = np.cumsum(lengths)
    whole = [
        ngram_hashes(units[ends[d] - lengths[d] : ends[d]], owners[: lengths[d]] * 0, int(lengths[d])) for d in short
    ]
    of_text = np.concatenate([of_text, short])
    order = np.argsort(of_text, kind="stable")
    return np.concatenate([hashes, *(hash_ for hash_, _ in whole)])[order], of_text[order]


def _word_hashes(bytes_B: NDArray[np.uint8], ascii_only: bool) -> tuple[NDArray[np.int64], Hashes]:
    """Where each word starts, and its hash. Shapes (U,)."""
    inside = np.zeros(len(bytes_B) + 2, dtype=np.bool_)
    inside[1:-1] = _WORD_BYTE[bytes_B]
    if not ascii_only:
        _leave_out_punctuation(bytes_B, inside[1:-1])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[::2], edges[1::2]
    tables, hashes, first = _tables(), np.empty(len(starts), dtype=np.uint64), 0
    while first < len(starts):
        origin = int(starts[first])
        last = max(first + 1, int(np.searchsorted(ends, origin + _BLOCK, side="right")))
        block = bytes_B[origin : min(int(ends[last - 1]), origin + _BLOCK)]
        sums = np.zeros(len(block) + 1, dtype=np.uint64)
        np.cumsum(tables.letter[block] * tables.power[: len(block)], out=sums[1:])
        begin, end = starts[first:last] - origin, np.minimum(ends[first:last] - origin, len(block))
        hashes[first:last] = (sums[end] - sums[begin]) * tables.inverse[begin]
        first = last
    return starts, hashes


def _leave_out_punctuation(bytes_B: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    """Mark U+0080–00BF, U+2000–206F and U+3000–303F as no part of words."""
    first, second = bytes_B[:-1], bytes_B[1:]
    two = np.flatnonzero(first == 0xC2)
    three = np.flatnonzero(
        ((first == 0xE2) & ((second == 0x80) | (second == 0x81))) | ((first == 0xE3) & (second == 0x80))
    )
    for places, length in ((two, 2), (three, 3)):
        inside[places[:, None] + np.arange(length)] = False
