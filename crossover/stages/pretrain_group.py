"""Train what is left of a group of runs. A finished group costs a second: torch is imported only to train."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from crossover.errors import UserError
from crossover.files import write_text
from crossover.settings import get_settings
from crossover.stages.finished_runs import register_finished, stored_runs, trained_runs
from crossover.stages.prepare_stage import open_dataset
from crossover.stages.stage_manifests import DatasetRef, Group, RunsRef, require_study
from crossover.stages.study_context import StudyContext
from crossover.study.identity import RunId

Launch = Callable[[RunId], None]
"""Trains one run to its end in processes of its own, or raises."""
LASTING = (UserError.exit_code, 128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit statuses of a training process after which it is not started again."""
GRACE_SECONDS = 7.0
"""Between SIGTERM and SIGKILL of a training process; less than this process itself has (crossover/termination.py)."""


def pretrain_group(context: StudyContext, reference: DatasetRef, group: Group, launch: Launch | None = None) -> RunsRef:
    """Train every run of a group to its end.

    Args:
        context: the study, its workspace and registry.
        reference: the dataset.
        group: the runs.
        launch: trains one run somewhere else; None trains in this process, or where the settings ask for restarts or
            for several processes in processes of its own.

    Raises:
        CrossoverError: see `pretrain_stage`.
        SystemExit: a training process failed, and what ended it is the last line of the output.
    """
    require_study(reference, context.study.digest, reference.uri)
    settings = get_settings()
    if launch is None and (settings.restarts or settings.processes > 1):
        launch = _Child(context, restarts=settings.restarts, processes=settings.processes)
    dataset, stored = open_dataset(context, reference), stored_runs(context, reference, group)
    for _, run in stored:
        if run is not None:
            register_finished(context, dataset, run)
    left = [spec.id for spec, run in stored if run is None]
    if left and launch is None:
        from crossover.stages.pretrain_stage import pretrain_stage

        pretrain_stage(context, reference, group.model_copy(update={"seeds": tuple(run.seed for run in left)}))
    elif launch is not None:
        for run_id in left:
            launch(run_id)
    return trained_runs(context, reference, group)


class _Child:
    """Trains a run with `crossover pretrain` in processes of its own, which start again where they end by a fault.

    The kernel kills the process with the most memory, so that this one lives on. Wrong input, and a loss that diverged,
    fail again, and are not repeated; nor is what somebody stopped.
    """

    def __init__(self, context: StudyContext, *, restarts: int, processes: int) -> None:
        self._context, self._restarts, self._processes = context, restarts, processes

    def __call__(self, run: RunId) -> None:
        with tempfile.TemporaryDirectory() as folder:
            study = Path(folder) / "study.yaml"
            write_text(study, self._context.study.model_dump_json())
            environment = os.environ | {"CROSSOVER_REGISTRY_URL": self._context.registry_url}
            for left in range(self._restarts, -1, -1):
                code = _wait(subprocess.Popen(self._command(study, run), env=environment))
                if code == 0:
                    return
                if code in LASTING:
                    break
                again = "starting it again from its last resume point" if left else "no restart is left"
                print(f"{run.key}: the training process ended: {_cause(code)}; {again}", file=sys.stderr, flush=True)
        raise SystemExit(code)

    def _command(self, study: Path, run: RunId) -> list[str]:
        torchrun = ["-m", "crossover.training.run_processes", "--standalone", f"--nproc-per-node={self._processes}"]
        options = ["--out", self._context.workspace.uri, "--cell", run.cell, "--arm", run.arm, "--seed", str(run.seed)]
        launcher = torchrun if self._processes > 1 else []
        return [sys.executable, *launcher, "-m", "crossover.cli", "pretrain", str(study), *options]


def _cause(code: int) -> str:
    """What ended a process, by its exit status."""
    if code == 128 + signal.SIGKILL:
        return "killed by SIGKILL, as when memory runs out"
    return f"signal {code - 128}" if code > 128 else f"exit code {code}"


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a process, 128 and its number for a signal; the process ends when this one is asked to."""
    try:
        code = process.wait()
        return code if code >= 0 else 128 - code
    except BaseException:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
