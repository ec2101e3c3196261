"""Progress of long work: a bar with an ETA on a terminal, plain lines elsewhere, events for a parent process.

A process with CROSSOVER_EVENTS=1 in its environment prints one line per event, `@crossover {json}`. `crossover run`
sets it for the stages of the pipeline, draws one bar for the study from their events, and reports their errors.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

EVENT_MARK = "@crossover "
PLAIN_SECONDS = 10.0
EVENT_SECONDS = 0.5
MEBIBYTE = 1 << 20
MANY_HOURS, HOURS_A_YEAR = 10_000.0, 8_766.0
"""From so many hours on a duration is told in years."""
KNOWN_FRACTION, KNOWN_SECONDS = 0.05, 60.0
"""Share of the work, or time, after which the time left is shown."""


def events_wanted() -> bool:
    """Whether a parent process reads the events of this one."""
    return os.environ.get("CROSSOVER_EVENTS") == "1"


def emit(kind: str, **fields: object) -> None:
    """Print one event.

    Args:
        kind: `progress`, `error`, or `note`: a text for people.
        fields: of the event; JSON values.
    """
    print(EVENT_MARK + json.dumps({"event": kind, **fields}), flush=True)


def parse_event(line: str) -> dict[str, Any] | None:
    """Parse a line of a stage's output, with any log prefix; returns None when it holds no event."""
    _, mark, text = line.partition(EVENT_MARK)
    if not mark:
        return None
    try:
        event = json.loads(text.strip().removesuffix("\x1b[0m"))
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def time_text(seconds: float) -> str:
    """A duration for people: `40 s`, `12 min`, `3.5 h`, `3,360 h`, `98.9 years`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours >= MANY_HOURS:
        return f"{float(f'{hours / HOURS_A_YEAR:.3g}'):,g} years"
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


class Meter:
    """Counts units of work of one phase of one run.

    Args:
        phase: `pretrain`, `evaluate`, ...
        label: what the phase works on, such as the key of a run.
        total: number of units.
        initial: units that an earlier attempt completed.
        unit: name of a unit.
    """

    def __init__(self, phase: str, label: str, total: int, *, initial: int = 0, unit: str = "step") -> None:
        self.phase, self.label, self.total, self.done, self.initial = phase, label, total, initial, initial
        self._events = events_wanted()
        self._tty = sys.stderr.isatty() and not self._events
        self._began = self._last = time.monotonic()
        self._bar = tqdm(
            total=total, initial=initial, desc=f"{phase} {label}", unit=unit, disable=not self._tty, leave=False
        )
        if self._events:
            self._emit({})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def advance(self, units: int = 1, **facts: float) -> None:
        """Count completed units.

        Args:
            units: completed since the last call.
            facts: values to show beside the bar, such as loss and tokens/s.
        """
        self.done += units
        if self._tty:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in facts.items()}, refresh=False)
            self._bar.update(units)
            return
        now = time.monotonic()
        if self.done < self.total and now - self._last < (EVENT_SECONDS if self._events else PLAIN_SECONDS):
            return
        self._last = now
        if self._events:
            self._emit(facts)
        else:
            self._plain(now, facts)

    def _emit(self, facts: dict[str, float]) -> None:
        emit("progress", phase=self.phase, label=self.label, done=self.done, total=self.total, **facts)

    def _plain(self, now: float, facts: dict[str, float]) -> None:
        shown = "".join(f", {name} {value:.4g}" for name, value in facts.items())
        done = self.done - self.initial
        # the first units are slow: no time is shown before it means something
        if (
            self.done < self.total
            and done > 1
            and (done > KNOWN_FRACTION * self.total or now - self._began > KNOWN_SECONDS)
        ):
            shown += f", {time_text((self.total - self.done) * (now - self._began) / done)} left"
        print(f"{self.phase} {self.label}: {self.done}/{self.total}{shown}", file=sys.stderr, flush=True)


@contextmanager
def byte_meter(phase: str, label: str, size: int, *, least: int) -> Iterator[Callable[[int], None]]:
    """A function that counts bytes, from any thread, shown as progress in MiB where there are many.

    Args:
        phase: what is done, such as `read`.
        label: what with.
        size: bytes in all.
        least: bytes below which nothing is shown.
    """
    if size < least:
        yield lambda count: None
        return
    lock, done = threading.Lock(), 0

    def advance(count: int) -> None:
        nonlocal done
        with lock:
            before, done = done, done + count
            if units := done // MEBIBYTE - before // MEBIBYTE:
                meter.advance(units)

    with Meter(phase, label, size // MEBIBYTE, unit="MiB") as meter:
        yield advance
