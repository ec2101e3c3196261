"""For which numbers of rows a matrix product gives a row the same bits.

Libraries choose another kernel, with another order of its sums, for few rows. A batch is padded to a number of rows
that agrees with the others, so that an answer has the same bits alone and in a batch.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowSizes:
    """Numbers of rows that a forward pass may have, ascending."""

    sizes: tuple[int, ...]

    @classmethod
    def every(cls, rows: int) -> RowSizes:
        """All numbers up to `rows`: where equal bits are not promised."""
        return cls(tuple(range(1, rows + 1)))

    @classmethod
    def measured(cls, outputs: Callable[[int], Tensor], rows: int) -> RowSizes:
        """The largest set of sizes up to `rows` that agree on this processor.

        Args:
            outputs: results of the first n rows of a fixed input, shape (n, any).
            rows: largest size tried.
        """
        classes: list[tuple[Tensor, list[int]]] = []
        for size in reversed(_candidates(rows)):
            result = outputs(size)
            for reference, members in classes:
                if torch.equal(reference[:size], result):
                    members.append(size)
                    break
            else:
                classes.append((result, [size]))
        _, best = max(classes, key=lambda pair: len(pair[1]))
        return cls(tuple(sorted(best)))

    @property
    def largest(self) -> int:
        """Rows of the largest forward pass."""
        return self.sizes[-1]

    def at_least(self, rows: int) -> int:
        """The smallest size for so many rows; a multiple of the largest one beyond it."""
        index = bisect.bisect_left(self.sizes, rows)
        return self.sizes[index] if index < len(self.sizes) else -(-rows // self.largest) * self.largest


def _candidates(rows: int) -> list[int]:
    """Every size where batches of AR are small, then coarser ones."""
    sizes = [1, 2, 3, 4, 6, 8, 12, *range(16, 256, 16), *range(256, rows + 1, 64), rows]
    return sorted({size for size in sizes if size <= rows})
