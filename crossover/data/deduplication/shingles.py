"""Hashed n-grams of a text, in numpy, without an object for each word.

Shapes: C characters of some texts, U units (words or characters), S n-grams. All hashes are uint64 and the same on
every machine. A word is a run of letters, marks, digits and underscores of a text in Unicode's form NFKC, which makes
full-width letters plain ones; case is ignored. Scripts that are written without blanks between words (Chinese,
Japanese, Thai, Lao, Khmer, Burmese and others) give a word for each character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Unit = Literal["words", "characters"]
Hashes = NDArray[np.uint64]

_BLOCK = 1 << 17
"""Characters whose hashes are summed at once: the arrays stay in the cache."""
_BASE = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2^64."""
_SPACES = np.array([ord(c) for c in " \t\n\r\f\v\u00a0\u2028\u2029\u3000"], dtype=np.uint32)
_OUTSIDE, _IN_WORD, _ALONE = range(3)
"""What a character is: between words, part of one, or one itself."""
_WITHOUT_BLANKS = tuple(
    "CJK,HIRAGANA,KATAKANA,HENTAIGANA,IDEOGRAPHIC,BOPOMOFO,YI SYLLABLE,NUSHU,TANGUT,KHITAN,"
    "THAI ,LAO ,KHMER ,MYANMAR ,TAI ,NEW TAI LUE,JAVANESE,BALINESE".split(",")
)
"""How the Unicode names of characters begin whose scripts have no blanks between words. Korean has them."""
_IDEOGRAPHS = 0x20000
"""From here on there are two planes of Chinese characters, of which each version of Unicode assigns more."""


class _Tables(NamedTuple):
    """Constants of the polynomial hash of a word, and what each character is."""

    letter: Hashes
    """A random number for each character. Shape (characters that a table knows,)."""
    kind: NDArray[np.uint8]
    """What each is. Shape (characters that a table knows,)."""
    power: Hashes
    """Powers of the base. Shape (_BLOCK,)."""
    inverse: Hashes
    """Powers of its inverse. Shape (_BLOCK,)."""


@lru_cache(maxsize=2)
def _tables(ascii_only: bool) -> _Tables:
    def powers(base: int) -> Hashes:
        factors = np.full(_BLOCK, base, dtype=np.uint64)
        factors[0] = 1
        return np.cumprod(factors, dtype=np.uint64)

    known = 0x80 if ascii_only else 0x110000
    kind = np.full(known, _OUTSIDE, dtype=np.uint8)
    kind[_IDEOGRAPHS : _IDEOGRAPHS + 0x20000] = _ALONE
    kind[: min(known, _IDEOGRAPHS)] = [_kind(chr(point)) for point in range(min(known, _IDEOGRAPHS))]
    return _Tables(
        mixed(np.arange(1, known + 1, dtype=np.uint64)), kind, powers(_BASE), powers(pow(_BASE, -1, 1 << 64))
    )


def _kind(character: str) -> int:
    if character != "_" and unicodedata.category(character)[0] not in "LMN":
        return _OUTSIDE
    return _ALONE if unicodedata.name(character, "").startswith(_WITHOUT_BLANKS) else _IN_WORD


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
    ascii_only = unit == "words" and all(text.isascii() for text in texts)
    encoding = "ascii" if ascii_only else "utf-32-le"
    dtype: np.dtype[np.unsignedinteger] = np.dtype(np.uint8 if ascii_only else "<u4")
    encoded = [f"{_folded(text, unit)}\n".encode(encoding, "surrogatepass") for text in texts]
    points = np.frombuffer(b"".join(encoded), dtype=dtype)
    ends = np.cumsum([len(text) for text in encoded]) // dtype.itemsize
    if unit == "words":
        places, hashes = _word_hashes(points, _tables(ascii_only))
    else:
        places = np.flatnonzero(~np.isin(points, _SPACES))
        hashes = mixed(points[places].astype(np.uint64))
    return hashes, np.searchsorted(ends, places, side="right")


def _folded(text: str, unit: Unit) -> str:
    """The text in lower case; what words are of, also with its compatible characters made equal."""
    return (text if unit == "characters" or text.isascii() else unicodedata.normalize("NFKC", text)).lower()


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


def _word_hashes(points_C: NDArray[np.unsignedinteger], tables: _Tables) -> tuple[NDArray[np.int64], Hashes]:
    """Where each word starts, and its hash. Shapes (U,)."""
    starts, ends = _words(tables.kind[points_C])
    hashes, first = np.empty(len(starts), dtype=np.uint64), 0
    while first < len(starts):
        origin = int(starts[first])
        last = max(first + 1, int(np.searchsorted(ends, origin + _BLOCK, side="right")))
        block = points_C[origin : min(int(ends[last - 1]), origin + _BLOCK)]
        sums = np.zeros(len(block) + 1, dtype=np.uint64)
        np.cumsum(tables.letter[block] * tables.power[: len(block)], out=sums[1:])
        begin, end = starts[first:last] - origin, np.minimum(ends[first:last] - origin, len(block))
        hashes[first:last] = (sums[end] - sums[begin]) * tables.inverse[begin]
        first = last
    return starts, hashes


def _words(kinds_C: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each word starts and ends. Shapes (U,)."""
    inside = np.zeros(len(kinds_C) + 2, dtype=np.bool_)
    inside[1:-1] = kinds_C == _IN_WORD
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[::2], edges[1::2]
    alone = np.flatnonzero(kinds_C == _ALONE)
    if not len(alone):
        return starts, ends
    return np.sort(np.concatenate([starts, alone])), np.sort(np.concatenate([ends, alone + 1]))
