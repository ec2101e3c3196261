"""From documents to examples of L tokens, the same for every arm.

document   a document is cut into whole examples from its start; what is left of it, and documents shorter than an
           example, are joined end to end and cut, so that an example may hold the ends of several documents
stream     all documents are joined end to end and cut

Every document ends with EOS. At most L - 1 tokens of a side are dropped, and nothing is padded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossover.study.data_config import Packing

DOCUMENTS_AT_ONCE = 1 << 10
"""Documents whose leftovers, each shorter than an example, are gathered in memory at a time."""


@dataclass(frozen=True)
class PackedExamples:
    """The examples of one side: first those of one document each, then those of joined leftovers."""

    tokens: NDArray[np.unsignedinteger]
    """Documents end to end, shape (tokens,)."""
    starts: NDArray[np.int64]
    """Where each example in `tokens` starts, shape (examples,)."""
    leftovers: NDArray[np.unsignedinteger]
    """Examples of joined leftovers, shape (examples, L)."""
    length: int
    dropped: int
    """Tokens at the end that fill no example."""

    def __len__(self) -> int:
        """Examples in all."""
        return len(self.starts) + len(self.leftovers)

    def rows(self, indices_n: NDArray[np.int64]) -> NDArray[np.unsignedinteger]:
        """Examples by their numbers, shape (n, L)."""
        joined_n = indices_n >= len(self.starts)
        rows_nL = np.empty((len(indices_n), self.length), dtype=self.tokens.dtype)
        rows_nL[~joined_n] = self.tokens[self.starts[indices_n[~joined_n]][:, None] + np.arange(self.length)]
        rows_nL[joined_n] = self.leftovers[indices_n[joined_n] - len(self.starts)]
        return rows_nL


@contextmanager
def packed(
    tokens: NDArray[np.unsignedinteger],
    lengths: NDArray[np.int64],
    length: int,
    packing: Packing,
    scratch: Path,
    chosen: NDArray[np.bool_] | None = None,
) -> Iterator[PackedExamples]:
    """The examples of documents.

    Args:
        tokens: documents end to end, each closed by EOS; possibly memory-mapped.
        lengths: tokens of each document.
        length: tokens of an example, L.
        packing: how documents become examples.
        scratch: folder for leftovers, and for chosen documents, while the context is open.
        chosen: which documents become examples, as if there were no others; None: all. Shape (documents,).

    Raises:
        OSError: the scratch folder cannot be written.
    """
    with ExitStack() as stack:
        if chosen is not None:
            ends, lengths = lengths.cumsum()[chosen], lengths[chosen]
            parts = (slice(end - size, end) for end, size in zip(ends.tolist(), lengths.tolist(), strict=True))
            tokens = stack.enter_context(_gathered(tokens, parts, int(lengths.sum()), scratch))
        if packing == "stream":
            count = len(tokens) // length
            none = np.empty((0, length), dtype=tokens.dtype)
            yield PackedExamples(tokens, np.arange(count) * length, none, length, len(tokens) - count * length)
            return
        ends = lengths.cumsum()
        examples, left = lengths // length, lengths % length
        document = np.repeat(np.arange(len(lengths)), examples)
        within = np.arange(examples.sum()) - np.repeat(examples.cumsum() - examples, examples)
        starts = (ends - lengths)[document] + within * length
        joined = stack.enter_context(_gathered(tokens, _ranges(ends - left, left), int(left.sum()), scratch))
        count = len(joined) // length
        leftovers = joined[: count * length].reshape(count, length)
        yield PackedExamples(tokens, starts, leftovers, length, len(joined) - count * length)


@contextmanager
def _gathered(
    tokens: NDArray[np.unsignedinteger], parts: Iterable[slice | NDArray[np.int64]], total: int, scratch: Path
) -> Iterator[NDArray[np.unsignedinteger]]:
    """Parts of the tokens end to end, `total` in all, in a scratch file while the context is open."""
    with tempfile.TemporaryFile(dir=scratch) as file:
        for part in parts:
            file.write(tokens[part].tobytes())
        file.flush()
        yield np.memmap(file, dtype=tokens.dtype, mode="r") if total else np.empty(0, dtype=tokens.dtype)


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Positions of ranges one after the other, those of some documents at a time."""
    for first in range(0, len(lengths), DOCUMENTS_AT_ONCE):
        sizes = lengths[first : first + DOCUMENTS_AT_ONCE]
        offset = np.repeat(starts[first : first + DOCUMENTS_AT_ONCE] - (sizes.cumsum() - sizes), sizes)
        yield (offset + np.arange(int(sizes.sum()))).astype(np.int64)
