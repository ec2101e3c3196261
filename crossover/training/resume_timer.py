"""When a run saves its next resume point between milestones."""

from __future__ import annotations

import time
from collections.abc import Callable

USUAL_SECONDS = 180.0
LARGEST_SHARE = 0.02
"""Largest share of a run's time that saving may take."""


class ResumeTimer:
    """Tells when a resume point is due.

    By default every three minutes, or less often where saving would take more than 2 % of the time.

    Args:
        minutes: the setting `resume_minutes`: a fixed interval, or 0 for none; None is the default.
        clock: seconds from any origin.
    """

    def __init__(self, minutes: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.minutes, self._clock = minutes, clock
        self._last, self._cost = clock(), 0.0

    def due(self) -> bool:
        """Whether the interval since the last resume point has passed."""
        if self.minutes is None:
            seconds = max(USUAL_SECONDS, self._cost / LARGEST_SHARE)
        else:
            seconds = 60 * self.minutes
        return seconds > 0 and self._clock() - self._last > seconds

    def restart(self) -> None:
        """A resume point is being saved."""
        self._last = self._clock()

    def saved(self, seconds: float) -> None:
        """A resume point is saved, which took this long."""
        self._cost = seconds
