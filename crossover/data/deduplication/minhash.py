"""MinHash signatures (Broder 1997): the share of equal hashes of two estimates their shingles' Jaccard similarity.

Shapes: D documents, H hashes of a signature, S shingles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crossover.data.deduplication.shingles import Unit, mixed, shingles

Signatures = NDArray[np.uint32]

EMPTY = np.uint32(2**32 - 1)
"""Every hash of a document without shingles."""
_BLOCK = 1024
"""Shingles at once: the hashes of so many stay in the cache."""


@lru_cache(maxsize=4)
def _permutations(hashes: int) -> tuple[Signatures, Signatures]:
    """Factors (odd) and masks of H permutations of 32 bits, x ↦ a (x ^ m). Shapes (H, 1)."""
    numbers = mixed(np.arange(2 * hashes, dtype=np.uint64)).astype(np.uint32).reshape(2, hashes, 1)
    return numbers[0] | np.uint32(1), numbers[1]


def signatures(texts: Sequence[str], unit: Unit, size: int, hashes: int) -> Signatures:
    """The signatures of some texts. Shape (D, H).

    Args:
        texts: one batch; the memory that is needed is about sixty times its bytes.
        unit: of the shingles.
        size: units in a shingle.
        hashes: H.
    """
    values, owners = shingles(texts, unit, size)
    values_S = (values >> np.uint64(32)).astype(np.uint32)
    factors, masks = _permutations(hashes)
    least = np.full((len(texts), hashes), EMPTY)
    space = np.empty((hashes, _BLOCK), dtype=np.uint32)
    for start in range(0, len(values_S), _BLOCK):
        block, owner = values_S[start : start + _BLOCK], owners[start : start + _BLOCK]
        permuted = space[:, : len(block)]
        np.bitwise_xor(block, masks, out=permuted)
        np.multiply(permuted, factors, out=permuted)
        firsts = np.flatnonzero(np.diff(owner, prepend=-1))
        of_text = np.minimum.reduceat(permuted, firsts, axis=1)
        least[owner[firsts]] = np.minimum(least[owner[firsts]], of_text.T)
    return least
