"""Counter-based random numbers: a draw depends on its purpose, never on earlier draws.

Philox (Salmon et al. 2011, numpy's implementation) keyed by (seed, stream) with the counter (epoch, example): order and
masks are the same on any number of processes, after any restart, and in any order of evaluation.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Purpose of the numbers; two streams never share a draw."""

    ORDER = 1
    CORRUPTION = 2
    MASK_COUNT = 3
    INITIALISATION = 4
    VALIDATION_MASKS = 5
    TASKS = 6
    SAMPLING = 7
    BUDGETS = 8
    DROPOUT = 9
    INPUT_MASKS = 10
    RANDOM_LENGTHS = 11
    RESAMPLING = 12


def generator(seed: int, stream: Stream, *, epoch: int = 0, example: int = 0) -> np.random.Generator:
    """A generator for one purpose.

    Args:
        seed: the run's seed, 0 or more, below 2**63.
        stream: purpose of the numbers.
        epoch: pass over the data, from 0; the optimizer step for streams without epochs.
        example: index within the data set.
    """
    key = np.array([seed, int(stream)], dtype=np.uint64)
    counter = np.array([0, 0, epoch, example], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
