"""Follow a run in Kubeflow Pipelines: a line whenever something changed, and how it ended."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable

import kfp_server_api
from crossover_pipelines.cluster_profile import STEPS
from crossover_pipelines.kfp_api import KfpApi

from crossover.errors import StageFailedError
from crossover.progress import time_text

POLL_SECONDS = 10.0
QUIET_LOOKS = 6
"""Looks after which a line is printed where only the time left has changed."""
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_RUNNING, _DONE = ("RUNNING", "PENDING"), ("SUCCEEDED", "CACHED", "SKIPPED")
_LEFT = "about "
_LOOPS = ("tuning", "pretraining", "evaluation")
_ITERATION = re.compile(r"-\d+$")


class Follower:
    """Looks at a run again and again until it has ended.

    Args:
        api: a connection.
        run_id: the run.
        groups: tasks of a loop, at most; for the time left.
        pause: waits so many seconds; replaced in tests.
        clock: seconds; replaced in tests.
    """

    def __init__(
        self,
        api: KfpApi,
        run_id: str,
        groups: int,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._run_id, self._groups = api, run_id, groups
        self._pause, self._clock = pause, clock
        self._first: dict[str, tuple[float, int]] = {}
        """When a loop was first seen running, and how many of its tasks had ended by then."""

    def follow(self) -> None:
        """Print progress until the run has ended.

        Raises:
            StageFailedError: it failed, or was cancelled.
            PipelinesError: the server refuses, or does not answer for a minute.
        """
        shown, looks = "", 0
        while True:
            run = self._run()
            line = self.line(run)
            changed = line.partition(_LEFT)[0] != shown.partition(_LEFT)[0]
            if changed or (line != shown and looks >= QUIET_LOOKS):
                print(line, flush=True)
                shown, looks = line, 0
            looks += 1
            if run.state in ENDED:
                break
            self._pause(POLL_SECONDS)
        if run.state != "SUCCEEDED":
            raise self._failure(run)

    def _run(self) -> kfp_server_api.V2beta1Run:
        try:
            run: kfp_server_api.V2beta1Run = self._api.ask(
                "reading the run", self._api.runs.run_service_get_run, self._run_id
            )
        except kfp_server_api.ApiException as error:
            raise self._api.refusal("reading the run", error) from error
        return run

    def line(self, run: kfp_server_api.V2beta1Run) -> str:
        """One line of progress: what runs, how much of the loops is done, and how long the loop takes at most."""
        states: dict[str, Counter[str]] = {}
        for step, task in _tasks(run):
            states.setdefault(step, Counter())[task.state or ""] += 1
        parts = [str(run.state or "PENDING").lower()]
        for step in STEPS:
            counts = states.get(step, Counter())
            done, running = sum(counts[s] for s in _DONE), sum(counts[s] for s in _RUNNING)
            if step in _LOOPS and (done or running):
                parts.append(f"{step} {done} done" + (f", {running} running" if running else ""))
                if running and (left := self._seconds_left(step, done)):
                    parts.append(f"{_LEFT}{time_text(left)} left of it")
            elif running:
                parts.append(step.replace("_", " "))
        return "; ".join(parts)

    def _seconds_left(self, step: str, done: int) -> float | None:
        """Of a loop, at the rate of the tasks that ended while this process was watching; None before one has."""
        now = self._clock()
        began, before = self._first.setdefault(step, (now, done))
        ended = done - before
        return (now - began) / ended * max(0, self._groups - done) if ended else None

    def _failure(self, run: kfp_server_api.V2beta1Run) -> StageFailedError:
        failed = [(step, task) for step, task in _tasks(run) if task.state == "FAILED"]
        page = f"{self._api.host}/#/runs/details/{self._run_id}"
        if not failed:
            said = run.error.message if run.error else f"it is {str(run.state).lower()}"
            return StageFailedError("pipeline", f"{said} (run: {page})")
        step, task = failed[0]
        said = task.error.message if task.error else "its log has the reason in the last line"
        more = f", and {len(failed) - 1} other tasks" if len(failed) > 1 else ""
        pod = f", pod {task.pod_name}" if task.pod_name else ""
        return StageFailedError(step, f"{said}{more} (run: {page}{pod})")


def _tasks(run: kfp_server_api.V2beta1Run) -> list[tuple[str, kfp_server_api.V2beta1PipelineTaskDetail]]:
    """The tasks of steps, not those of drivers and loops, with the name of the step."""
    details = run.run_details.task_details if run.run_details else None
    named = ((_ITERATION.sub("", task.display_name or "").replace("-", "_"), task) for task in details or ())
    return [(step, task) for step, task in named if step in STEPS]


def warn_detached(api: KfpApi, run_id: str) -> None:
    """Say that the run goes on without its follower."""
    page = f"{api.host}/#/runs/details/{run_id}"
    print(f"no longer followed, the run goes on: {page}; the same command follows it again", file=sys.stderr)
