"""Losses that must not be learnt from: not finite, or a spike far above the recent ones."""

from __future__ import annotations

import math
import statistics
from collections import deque

WINDOW = 128
"""Recent losses that a spike is measured against."""
SETTLED = 32
"""Losses needed before anything is called a spike."""
LEAST_JUMP = 1.0
"""Nats a token above the median that a spike has at least: a run that has overfitted has tiny deviations."""
SKIPPED_WINDOW = 8
"""Batches skipped after a roll-back: the one that showed it and those that led up to it."""
MOST_ROLLBACKS = 3
"""Roll-backs of one attempt before it stops after all."""


class LossGuard:
    """Looks at each loss before it is learnt from.

    Args:
        factor: deviations (1.4826 x median absolute deviation) above the median that are a spike; 0 looks for none.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def objection(self, loss: float, gradient_norm: float) -> str | None:
        """Why this step must not be applied; None when it may."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(gradient_norm):
            return f"the gradient norm is {gradient_norm}"
        if self.factor and len(self._recent) >= SETTLED:
            median = statistics.median(self._recent)
            deviation = 1.4826 * statistics.median(abs(value - median) for value in self._recent)
            if loss > median + max(self.factor * deviation, LEAST_JUMP):
                return f"the loss jumped to {loss:.3f} from a median of {median:.3f}"
        self._recent.append(loss)
        return None

    def forget(self) -> None:
        """Start anew, after a roll-back."""
        self._recent.clear()
