"""Clusters of near-duplicates from their signatures: banding, verification, connected components.

Documents are taken in the order of their keys, so that clusters do not depend on the order in which they were read.
Shapes: D documents, H hashes of a signature, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crossover.data.deduplication.minhash import EMPTY, Signatures
from crossover.data.deduplication.shingles import Hashes, ngram_hashes

Indices = NDArray[np.int64]

ROUNDS = 16
"""Documents of one band's bucket that the rest of it is compared with, at most."""
_BLOCK = 1 << 14
"""Rows of signatures in memory at once."""


def first_of_cluster(signatures_DH: Signatures, keys_D: Hashes, bands: int, least_equal: int) -> Indices:
    """The document that stands for each: the first of its cluster in the order of the keys. Shape (D,).

    Args:
        signatures_DH: may be a memory map; it is read in blocks.
        keys_D: a random number for each document, of its text alone.
        bands: cuts of a signature; documents that agree in a band are compared.
        least_equal: equal hashes that make two documents near-duplicates.
    """
    order_D = np.argsort(keys_D, kind="stable")
    order_D = order_D[signatures_DH[order_D, 0] != EMPTY]
    labels_D = np.arange(len(keys_D))
    for band in range(bands):
        edges = [
            (labels_D[leaders], labels_D[others])
            for leaders, others in _verified(signatures_DH, order_D, labels_D, band, bands, least_equal)
        ]
        if edges:
            labels_D = _joined(labels_D, *(np.concatenate(side) for side in zip(*edges, strict=True)))
    _, first, inverse = np.unique(labels_D[order_D], return_index=True, return_inverse=True)
    representative_D = np.arange(len(keys_D))
    representative_D[order_D] = order_D[first][inverse]
    return representative_D


def _joined(labels_D: Indices, ones_P: Indices, others_P: Indices) -> Indices:
    """Labels after the components of each pair of labels have become one. Shape (D,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = (np.ones(len(ones_P), dtype=np.int64), (ones_P, others_P))
    graph = coo_array(pairs, shape=(len(labels_D),) * 2)
    components: Indices = connected_components(graph, directed=False)[1].astype(np.int64)
    return components[labels_D]


def _verified(
    signatures_DH: Signatures, order_D: Indices, labels_D: Indices, band: int, bands: int, least_equal: int
) -> Iterator[tuple[Indices, Indices]]:
    """Pairs that one band brings together and that are near-duplicates, in blocks. Shapes (P,).

    In each bucket the others are compared with its first document; those unlike it, with the first of themselves.
    """
    bucket, member = _buckets(_band_keys(signatures_DH, band, bands), order_D)
    for _ in range(ROUNDS):
        if not len(member):
            return
        new = np.diff(bucket, prepend=-1) != 0
        leader = member[np.maximum.accumulate(np.where(new, np.arange(len(member)), 0))]
        left = ~new
        alike = labels_D[leader] == labels_D[member]
        for start in range(0, len(member), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(member)))
            rows = rows[~alike[rows]]
            equal = (signatures_DH[leader[rows]] == signatures_DH[member[rows]]).sum(axis=1)
            near = rows[equal >= least_equal]
            if len(near):
                yield leader[near], member[near]
            alike[near] = True
        left &= ~alike
        bucket, member = bucket[left], member[left]
        shared = np.bincount(bucket)[bucket] > 1 if len(bucket) else left[:0]
        bucket, member = bucket[shared], member[shared]


def _band_keys(signatures_DH: Signatures, band: int, bands: int) -> Hashes:
    """A hash of one band of each signature. Shape (D,)."""
    width = signatures_DH.shape[1] // bands
    keys = np.empty(len(signatures_DH), dtype=np.uint64)
    for start in range(0, len(keys), _BLOCK):
        rows = signatures_DH[start : start + _BLOCK, band * width : (band + 1) * width].astype(np.uint64)
        flat = rows.reshape(-1)
        keys[start : start + _BLOCK] = ngram_hashes(flat, np.repeat(np.arange(len(rows)), width), width)[0]
    return keys


def _buckets(keys_D: Hashes, order_D: Indices) -> tuple[Indices, Indices]:
    """Documents that share a key with another: the number of their bucket, and their index. Shapes (P,), by bucket."""
    keys = keys_D[order_D]
    by_key = np.argsort(keys, kind="stable")
    keys = keys[by_key]
    bucket = np.cumsum(np.diff(keys, prepend=keys[:1]) != 0)
    shared = np.bincount(bucket, minlength=1)[bucket] > 1 if len(bucket) else bucket.astype(np.bool_)
    return bucket[shared], order_D[by_key[shared]]
