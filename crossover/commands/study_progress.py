"""The progress of a study, added up from the events of its stages: what runs now, how much is done, how long it takes.

The time left is not shown before every arm has been trained and evaluated for a while: the arms differ, and evaluation
of a diffusion model may take longer than its training.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crossover.errors import StageFailedError, UserError
from crossover.model.model_presets import preset
from crossover.progress import parse_event
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer_file import vocabulary_rows

TRAINING_SHARE = 0.7
"""Approximate fraction of a run's time that is training, until both have been timed."""
TIMED_FRACTION = 0.1
"""Fraction of a phase of a run after which its rate is taken."""
CURRENT_SECONDS = 20.0
"""A run without an event for longer is not shown as running."""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt): .+$")
_FAILED_TASK = re.compile(r"Task '(?P<task>[\w-]+)' finished with status FAILURE")
_STARTED_TASK = re.compile(r"Executing task '(?P<task>[\w-]+)'")
_SINGLE_STAGES = {
    "prerequisites": "checking the study",
    "corpus-shard": "reading the corpus",
    "data-preparation": "preparing the data",
    "tuning-summary": "choosing the settings of the arms",
    "training-summary": "gathering the trained runs",
    "crossover-analysis": "analysing, writing the report",
    "promotion": "promoting",
}


@dataclass
class _Phase:
    """Training or evaluation of one run."""

    began: float
    """Time of the first event, in seconds."""
    first: float
    """Fraction that an earlier attempt had done."""
    last: float = 0.0
    """Time of the newest event."""
    done: float = 0.0
    """Fraction of the phase."""
    event: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Of the full phase, at the rate so far; None before it is known."""
        done = self.done - self.first
        return (self.last - self.began) / done if done >= TIMED_FRACTION else None


def _reused(now: float) -> _Phase:
    """A phase that an earlier run of the pipeline finished: it has no rate."""
    return _Phase(now, 1.0, now, 1.0)


class StudyProgress:
    """Adds up the events of all stages: how much is done, and what failed first.

    Args:
        runs: those to be finished; those that are already finished are evaluated at once.
        weights: the relative cost of a run by cell.
        parallel: stages at once.
        trained: runs that an earlier run of the pipeline trained.
        evaluated: those of them whose evaluations are stored, and only read.
    """

    def __init__(
        self,
        runs: Sequence[RunId],
        weights: Mapping[str, float],
        parallel: int = 1,
        *,
        trained: Sequence[RunId] = (),
        evaluated: Sequence[RunId] = (),
    ) -> None:
        self.runs, self.weights, self.parallel = runs, weights, parallel
        self.trained = {run.key: _reused(0.0) for run in trained}
        self.evaluated = {run.key: _reused(0.0) for run in evaluated}
        self._stored = frozenset(self.evaluated)
        self.stage = ""
        self.error: dict[str, Any] | None = None
        self.failed_task = ""
        self.last_exception = ""

    def take(self, line: str, now: float | None = None) -> dict[str, Any] | None:
        """Take a line of output; returns the event in it, if any."""
        event, now = parse_event(line), time.monotonic() if now is None else now
        if event is None:
            self._take_text(_ANSI.sub("", line).strip())
        elif event["event"] == "error":
            self.error = self.error or event
        elif event["event"] == "progress" and event["phase"] in ("pretrain", "evaluate"):
            phases = self.trained if event["phase"] == "pretrain" else self.evaluated
            key, done = event["label"], event["done"] / max(1, event["total"])
            if phases is self.evaluated and key in self._stored:
                return event
            if key not in phases or done < phases[key].first:  # below `first`: a reused run was torn
                phases[key] = _Phase(now, done)
            phase = phases[key]
            phase.last, phase.done, phase.event = now, done, event
            if phases is self.evaluated and key not in self.trained:
                self.trained[key] = _reused(now)
        return event

    def _take_text(self, text: str) -> None:
        if match := _FAILED_TASK.search(text):
            self.failed_task = self.failed_task or match["task"]
        elif match := _STARTED_TASK.search(text):
            self.stage = _SINGLE_STAGES.get(match["task"], "")
        elif _EXCEPTION.match(text):
            self.last_exception = text

    def failure(self, code: int, log: Path) -> StageFailedError:
        """What failed, as the first stage that failed reported it.

        Args:
            code: exit status of the pipeline's process.
            log: named where the message alone may not explain the failure.
        """
        if self.error is None:
            # the stage ended without an event: it was killed, or failed before it could emit one
            message = self.last_exception or f"ended without an error message, exit status {code}"
            return StageFailedError(self.failed_task or "pipeline", f"{message} (log: {log})")
        message, exit_code = str(self.error["message"]), int(self.error["exit_code"])
        if exit_code != UserError.exit_code:
            message += f" (log: {log})"
        return StageFailedError(str(self.error["stage"]), message, exit_code=exit_code)

    @property
    def fraction(self) -> float:
        """Fraction of the study's work that is done, 0 to 1."""
        total = done = 0.0
        for run in self.runs:
            weight = self.weights.get(run.cell, 1.0)
            total += weight
            for phases, share in ((self.trained, TRAINING_SHARE), (self.evaluated, 1 - TRAINING_SHARE)):
                if run.key in phases:
                    done += share * weight * phases[run.key].done
        return done / max(1e-9, total)

    @property
    def seconds_left(self) -> float | None:
        """Until all runs are evaluated; None before the rates of all arms are known."""
        left = 0.0
        for phases in (self.trained, self.evaluated):
            costs = self._costs(phases)
            for run in self.runs:
                done = phases[run.key].done if run.key in phases else 0.0
                if done < 1 and run.arm not in costs:
                    return None
                left += (1 - done) * costs.get(run.arm, 0.0) * self.weights.get(run.cell, 1.0)
        return left / self.parallel

    def _costs(self, phases: Mapping[str, _Phase]) -> dict[str, float]:
        """Mean seconds of a phase for a unit of weight, by arm; finished ones, which took no time, are left out."""
        times: dict[str, list[float]] = {}
        for run in self.runs:
            seconds = phases[run.key].seconds if run.key in phases else None
            if seconds is not None:
                times.setdefault(run.arm, []).append(seconds / self.weights.get(run.cell, 1.0))
        costs = {}
        for arm, values in times.items():
            worked = [value for value in values if value >= max(values) / 2]
            costs[arm] = sum(worked) / len(worked)
        return costs

    @property
    def summary(self) -> str:
        """Counts of finished runs."""
        trained, evaluated = (
            sum(phase.done >= 1 for phase in phases.values()) for phases in (self.trained, self.evaluated)
        )
        return f"trained {trained}/{len(self.runs)}, evaluated {evaluated}/{len(self.runs)}"

    def current(self, now: float | None = None) -> str:
        """What runs now: arm, seed, loss; with several cells, the cell too."""
        if self.stage:
            return self.stage
        now = time.monotonic() if now is None else now
        shown = []
        for phases in (self.trained, self.evaluated):
            for key, phase in phases.items():
                if phase.done < 1 and phase.event and now - phase.last < CURRENT_SECONDS:
                    shown.append(self._activity(RunId.parse(key), phase.event))
        return "; ".join(shown)

    def _activity(self, run: RunId, event: Mapping[str, Any]) -> str:
        cell = f"{run.cell} " if len(self.weights) > 1 else ""
        text = f"{cell}{run.arm} seed {run.seed} "
        if event["phase"] == "evaluate":
            return text + f"evaluating {event['done']}/{event['total']}"
        loss = f" loss {event['loss']:.3f}" if "loss" in event else ""
        return text + f"step {event['done']:,}/{event['total']:,}{loss}"


def cell_weights(study: StudyConfig) -> dict[str, float]:
    """The relative cost of a run by cell: tokens x active parameters."""
    length = study.data.sequence_length
    return {
        cell.name: study.total_steps(cell)
        * float(
            preset(cell.model, vocab_size=vocabulary_rows(study.data.tokenizer), max_length=length).active_parameters
        )
        for cell in study.cells
    }
