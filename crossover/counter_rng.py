"""Counter-based randomness: a draw depends on what it is for, never on what was drawn before.

Philox (Salmon et al. 2011, numpy's implementation) keyed by (seed, stream) with the counter (epoch, example): order and
corruption are the same on any number of processes, after any restart, and in any order of evaluation.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What the numbers are for; two streams never share a draw."""

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


def generator(seed: int, stream: Stream, *, epoch: int = 0, example: int = 0) -> np.random.Generator:
    """A generator for one purpose.

    Args:
        seed: the run's seed, 0 or more, below 2**63.
        stream: what the numbers are for.
        epoch: pass over the data, 0 first; steps where a stream has no epochs.
        example: index within the data set.
    """
    key = np.array([seed, int(stream)], dtype=np.uint64)
    counter = np.array([0, 0, epoch, example], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
