"""Run a study's pipeline on this machine and show its progress.

The pipeline runs in a process group of its own. This process holds the workspace's lock, writes the log, draws one
progress bar for the study, and raises an error that names the stage that failed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from crossover.errors import StageFailedError, UserError, WorkspaceError
from crossover.files import workspace_error
from crossover.progress import parse_event
from crossover.settings import get_settings
from crossover.stages.run_selection import parse_selection
from crossover.stages.workspace import STUDY_FILE, Workspace
from crossover.study.study_config import StudyConfig

TRAINING_SHARE = 0.7
"""Approximate fraction of a run's time that is training; only the progress bar uses it."""
GRACE_SECONDS = 15.0
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt): .+$")
_FAILED_TASK = re.compile(r"Task '(?P<task>[\w-]+)' finished with status FAILURE")


@dataclass
class StudyProgress:
    """Adds up the events of all stages: how much is done, and what failed first."""

    runs: int
    trained: dict[str, float] = field(default_factory=dict)
    evaluated: dict[str, float] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    failed_task: str = ""
    last_exception: str = ""

    def take(self, line: str) -> dict[str, Any] | None:
        """Take a line of output; returns the event in it, if any."""
        event = parse_event(line)
        if event is None:
            text = _ANSI.sub("", line).strip()
            if match := _FAILED_TASK.search(text):
                self.failed_task = self.failed_task or match["task"]
            elif _EXCEPTION.match(text):
                self.last_exception = text
        elif event["event"] == "error":
            self.error = self.error or event
        elif event["event"] == "progress":
            done = event["done"] / max(1, event["total"])
            if event["phase"] == "evaluate":
                self.trained[event["label"]] = 1.0
                self.evaluated[event["label"]] = done
            elif event["phase"] == "pretrain":
                self.trained[event["label"]] = done
        return event

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
        trained, evaluated = sum(self.trained.values()), sum(self.evaluated.values())
        return (TRAINING_SHARE * trained + (1 - TRAINING_SHARE) * evaluated) / max(1, self.runs)

    @property
    def summary(self) -> str:
        """Counts of finished runs."""
        trained = sum(value >= 1 for value in self.trained.values())
        evaluated = sum(value >= 1 for value in self.evaluated.values())
        return f"trained {trained}/{self.runs}, evaluated {evaluated}/{self.runs}"


def run_study(
    study: StudyConfig,
    workspace: str,
    *,
    registry: str,
    promotion: str,
    seeds_per_task: int,
    quiet: bool,
    runs: str = "",
) -> Path:
    """Run the pipeline to its end.

    Args:
        study: the study.
        workspace: a path, or s3://bucket/prefix.
        registry: SQLAlchemy URL; it may hold a password, and is passed on in the environment only.
        promotion: verdict, always, or never.
        seeds_per_task: seeds that one pretraining task trains.
        quiet: show no progress.
        runs: the runs of one round (see crossover/stages/run_selection.py); empty for all.

    Returns:
        The local folder of the workspace.

    Raises:
        StageFailedError: a stage failed; has the stage's own message.
        WorkspaceError: the workspace holds a different study, is in use, or cannot be written.
        KeyboardInterrupt: after all processes of the pipeline have been stopped.
    """
    place = Workspace(workspace)
    if "python3" in workspace or "{{$." in workspace:
        raise WorkspaceError(
            "workspace.reserved-text",
            field=workspace,
            problem="contains `python3` or `{{$.`, which kfp.local replaces inside arguments",
            remedy="use a path without it",
        )
    with place.lock() as lock:
        place.claim(study)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        log = place.root / "logs" / f"run-{stamp}.log"
        command = [
            *(sys.executable, "-m", "crossover_pipelines.local"),
            *("--study", str(place.root / STUDY_FILE), "--workspace", workspace),
            *("--promotion", promotion, "--seeds-per-task", str(seeds_per_task), f"--runs={runs}"),
            *("--parallelism", str(get_settings().local_parallelism), "--root", str(place.root / "pipeline")),
        ]
        progress = StudyProgress(runs=len(study.arms) * sum(map(len, parse_selection(study, runs).values())))
        code = _run_logged(command, registry, log, progress, lock, quiet=quiet)
    if code != 0:
        raise progress.failure(code, log)
    return place.root


def _run_logged(
    command: list[str], registry: str, log: Path, progress: StudyProgress, lock: int, *, quiet: bool
) -> int:
    """Start the pipeline, log its output, show progress; stops all its processes when interrupted."""
    settings = get_settings()
    environment = os.environ | {
        "CROSSOVER_EVENTS": "1",
        "CROSSOVER_REGISTRY_URL": registry,
        "CROSSOVER_THREADS": str(settings.step_threads),
        "OMP_NUM_THREADS": str(settings.step_threads),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("w", encoding="utf-8")
    except OSError as error:
        raise workspace_error(log, error) from error
    with file, _terminable():
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=(lock,),
        )
        assert process.stdout is not None  # noqa: S101 - stdout is a pipe
        try:
            _follow(process.stdout, file, progress, quiet=quiet)
            return process.wait()
        except KeyboardInterrupt:
            _stop(process)
            raise
        except OSError as error:
            _stop(process)
            raise workspace_error(log, error) from error


def _follow(lines: IO[str], log: IO[str], progress: StudyProgress, *, quiet: bool) -> None:
    """Copy lines to the log and show progress: a bar on a terminal, else a line every ten seconds."""
    tty = sys.stderr.isatty() and not quiet
    bar = tqdm(total=1.0, disable=not tty, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}")
    began = last = time.monotonic()
    with bar:
        for line in lines:
            event = progress.take(line)
            log.write(line)
            if event is None or event["event"] != "progress":
                continue
            if tty:
                bar.set_description_str(progress.summary, refresh=False)
                rate = event.get("tokens_per_second")
                bar.set_postfix_str(
                    f"{event['label']} loss {event['loss']:.3f} {rate:,.0f} tokens/s" if rate else event["label"],
                    refresh=False,
                )
                bar.update(max(0.0, progress.fraction - bar.n))
            elif not quiet and time.monotonic() - last > 10:
                last = time.monotonic()
                done = progress.fraction
                left = f", about {(last - began) * (1 - done) / done:.0f} s left" if done > 0.01 else ""
                print(f"{done:4.0%}  {progress.summary}{left}", flush=True)


def _stop(process: subprocess.Popen[str]) -> None:
    """Interrupt the process group, give it time to record the end of its attempts, then kill what is left."""
    _signal_group(process, signal.SIGINT)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    _signal_group(process, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


@contextmanager
def _terminable() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
