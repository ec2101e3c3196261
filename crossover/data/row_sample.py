"""Some rows of a memory-mapped array in an order of their own, which are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowSample:
    """Rows that are read like an array's; memory: 8 bytes each.

    Args:
        rows_ML: all rows, possibly memory-mapped.
        order_N: which rows these are, in their order.
    """

    def __init__(self, rows_ML: NDArray[np.unsignedinteger], order_N: NDArray[np.int64]) -> None:
        self._rows_ML, self._order_N = rows_ML, order_N
        self.shape, self.dtype = (len(order_N), rows_ML.shape[1]), rows_ML.dtype

    def __len__(self) -> int:
        """Rows, N."""
        return len(self._order_N)

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
        """A copy of some rows, shape (n, L)."""
        return np.asarray(self._rows_ML[self._order_N[chosen]])

    def __iter__(self) -> Iterator[NDArray[np.unsignedinteger]]:
        """Each row, shape (L,)."""
        return (np.asarray(self._rows_ML[row]) for row in self._order_N)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401  # as numpy calls it
        """All rows in memory."""
        return np.asarray(self[:], dtype=dtype)


Rows = NDArray[np.unsignedinteger] | RowSample
"""Training examples (N, L)."""
