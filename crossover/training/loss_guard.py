"""Detects losses that must not be trained on: not finite, or a spike far above the recent ones."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable

WINDOW = 128
"""Number of recent losses that a spike is measured against."""
SETTLED = 32
"""Number of losses needed before a spike can be detected."""
LEAST_JUMP = 1.0
"""Smallest height of a spike above the median, nats per token: the losses of an overfitted run deviate little."""
SKIPPED_WINDOW = 8
"""Number of batches skipped after a roll-back: the one with the fault and those before it."""
MOST_ROLLBACKS = 3
"""Largest number of roll-backs of a run; the next fault stops it."""


class LossGuard:
    """Checks each loss before the optimizer step.

    Args:
        factor: height of a spike above the median in robust deviations (1.4826 x median absolute deviation); 0
            disables spike detection.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def fault(self, loss: float, gradient_norm: float) -> str | None:
        """Why this step must not be applied; None if it may be.

        Args:
            loss: nats per token.
            gradient_norm: before clipping.
        """
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

    @property
    def recent(self) -> tuple[float, ...]:
        """The losses that the next one is measured against, oldest first; part of a resume point."""
        return tuple(self._recent)

    def restore(self, recent: Iterable[float]) -> None:
        """Set the recent losses to those of a resume point."""
        self._recent = deque(recent, maxlen=WINDOW)
