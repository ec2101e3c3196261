"""Run a study's pipeline on this machine and show its progress.

The pipeline runs in a process group of its own. This process holds the workspace's lock, writes the log, draws one
progress bar for the study, and raises an error that names the stage that failed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from tqdm import tqdm

from crossover.commands.study_progress import StudyProgress, cell_weights
from crossover.errors import WorkspaceError
from crossover.files import workspace_error
from crossover.progress import time_text
from crossover.settings import get_settings
from crossover.stages.reuse import plan_reuse, plan_sweep_reuse
from crossover.stages.run_selection import default_seeds_per_task, selected_runs
from crossover.stages.workspace import STUDY_FILE, Workspace
from crossover.study.study_config import StudyConfig
from crossover.termination import Terminated

GRACE_SECONDS = 15.0
TERMINATION_SECONDS = 6.0
"""Grace after SIGTERM: less than this process itself has (see crossover/termination.py)."""
PLAIN_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""


def run_study(
    study: StudyConfig,
    workspace: str,
    *,
    registry: str,
    promotion: str,
    seeds_per_task: int | None,
    quiet: bool,
    runs: str = "",
) -> Path:
    """Print the table of what is reused, where there is anything to reuse, and run the pipeline to its end.

    Args:
        study: the study.
        workspace: a path, or s3://bucket/prefix.
        registry: SQLAlchemy URL; it may hold a password, and is passed on in the environment only.
        promotion: verdict, always, or never.
        seeds_per_task: seeds that one pretraining task trains; None for as many as keep this machine busy.
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
    reuse, sweep = plan_reuse(study, place.store, runs), plan_sweep_reuse(study, place.store)
    done = [sweep, reuse] if sweep else [reuse]
    if reuse.reused and not quiet:
        print("\n".join((*reuse.table(), "")), flush=True)
    with place.lock() as lock:
        place.claim(study)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        log = place.root / "logs" / f"run-{stamp}.log"
        selected = selected_runs(study, runs)
        seeds_per_task = seeds_per_task or default_seeds_per_task(len(selected), get_settings().local_parallelism)
        command = [
            *(sys.executable, "-m", "crossover_pipelines.local"),
            *("--study", str(place.root / STUDY_FILE), "--workspace", workspace),
            *("--promotion", promotion, "--seeds-per-task", str(seeds_per_task), f"--runs={runs}"),
            *("--parallelism", str(get_settings().local_parallelism), "--root", str(place.root / "pipeline")),
            *("--parent", str(os.getpid())),
        ]
        progress = StudyProgress(
            [*sweep.trained, *sweep.new_runs, *selected] if sweep else selected,
            cell_weights(study),
            get_settings().local_parallelism,
            trained=[run for each in done for run in each.trained],
            evaluated=[run for each in done for run in each.evaluated],
        )
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
    with file:
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
        except KeyboardInterrupt as reason:
            _stop(process, TERMINATION_SECONDS if isinstance(reason, Terminated) else GRACE_SECONDS)
            raise
        except OSError as error:
            _stop(process, GRACE_SECONDS)
            raise workspace_error(log, error) from error


def _follow(lines: IO[str], log: IO[str], progress: StudyProgress, *, quiet: bool) -> None:
    """Copy lines to the log and show progress: a bar on a terminal, else a line every ten seconds."""
    tty = sys.stderr.isatty() and not quiet
    bar = tqdm(total=1.0, disable=not tty, bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}")
    last, shown = time.monotonic(), ""
    with bar:
        for line in lines:
            event = progress.take(line)
            log.write(line)
            if event is not None and event["event"] == "note":
                bar.write(str(event["text"]))
            due = time.monotonic() - last > PLAIN_SECONDS or progress.stage not in ("", shown)
            if quiet or not (tty or due):
                continue
            seconds = progress.seconds_left
            left = f"about {time_text(seconds)} left" if seconds else ""
            parts = [part for part in (progress.current(), left) if part]
            if tty:
                bar.set_description_str(progress.summary, refresh=False)
                bar.set_postfix_str("; ".join(parts), refresh=False)
                bar.update(max(0.0, progress.fraction - bar.n))
            else:
                last, shown = time.monotonic(), progress.stage
                print("; ".join((f"{progress.fraction:4.0%}  {progress.summary}", *parts)), flush=True)


def _stop(process: subprocess.Popen[str], grace: float) -> None:
    """Interrupt the process group, give it time to record the end of its attempts, then kill what is left."""
    _signal_group(process, signal.SIGINT)
    deadline = time.monotonic() + grace
    while _group_lives(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal_group(process, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _group_lives(process: subprocess.Popen[str]) -> bool:
    """Whether a process of the group is left: the stages may outlive the pipeline's process, their parent."""
    if process.poll() is None:
        return True
    try:
        while os.waitpid(-process.pid, os.WNOHANG)[0]:  # in a container this process inherits them
            pass
    except ChildProcessError:
        pass
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
