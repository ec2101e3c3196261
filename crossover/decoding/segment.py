"""The unit of a forward pass: consecutive positions of one sequence."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crossover.decoding.key_value_cache import KeyValueCache

Tokens = NDArray[np.int64]


@dataclass
class Segment:
    """Positions to compute; their logits are wanted for some of them.

    What a position attends to depends on the model: in an autoregressive one the positions up to it, in a block
    diffusion model those up to the end of its block, in a masked diffusion model all `visible`.

    Shapes: L positions, P of them wanted.
    """

    tokens_L: Tokens
    start: int = 0
    """Position of the first token in its sequence."""
    wanted_P: Tokens = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Indices into `tokens_L`."""
    cache: KeyValueCache | None = None
    """Where keys and values are written, and those of the other positions are read; None where `tokens_L` is all."""
    visible: int = 0
    """Positions of the sequence that there are, from 0 on; only with `cache`."""
