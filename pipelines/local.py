"""Run the study's pipeline on one machine with kfp.local, in a process of its own.

kfp.local replaces `print` and the root logger, keeps global state, and reports of a failed stage only that it failed:
`crossover run` starts this module, reads its output, and keeps it in a log. The registry's URL may hold a password, so
it comes in the environment (CROSSOVER_REGISTRY_URL), which the stages inherit; the pipeline parameter stays empty.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from crossover_pipelines.crossover_study.pipeline import build_pipeline
from kfp import local
from kfp.local import subprocess_task_handler

from crossover.failures import reporting

FAILED_TASK = "finished with status"
"""Text in the RuntimeError that kfp.local raises for a failed task."""


def argument_text(study_json: str) -> str:
    """Escape in the study's JSON the two texts that kfp.local rewrites inside arguments: `python3` and `{{$.`."""
    return study_json.replace("python3", "python\\u0033").replace("{{$.", "{\\u007b$.")


def start_nothing_after_interrupt() -> None:
    """After SIGINT no further stage starts: kfp.local's pool of threads would begin every task that waits."""
    interrupted, start = threading.Event(), subprocess_task_handler.run_local_subprocess

    def run_unless_interrupted(full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        return 1 if interrupted.is_set() else int(start(full_command, env_vars))

    def interrupt(_number: int, _frame: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    subprocess_task_handler.run_local_subprocess = run_unless_interrupted
    signal.signal(signal.SIGINT, interrupt)


def end_with(parent: int) -> None:
    """Terminate this process group once its parent is gone: one that is killed cannot. Stages end in ten seconds."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def main() -> int:
    """Run the pipeline with the arguments that `crossover run` gives; returns 1 when a stage failed."""
    parser = argparse.ArgumentParser(prog="python -m crossover_pipelines.local")
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--promotion", required=True)
    parser.add_argument("--seeds-per-task", type=int, required=True)
    parser.add_argument("--parallelism", type=int, required=True)
    parser.add_argument("--runs", default="", help="the runs of one round; empty for all")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--study", type=Path, required=True, help="study.json of the workspace")
    parser.add_argument("--parent", type=int, help="end all of this process group when this parent is gone")
    options = parser.parse_args()
    if options.parent is not None:
        end_with(options.parent)
    with reporting("pipeline"):
        study = json.dumps(json.loads(options.study.read_text("utf-8"))["study"])
        start_nothing_after_interrupt()
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(options.root), raise_on_error=True)
        try:
            build_pipeline(options.parallelism)(
                study=argument_text(study),
                workspace=options.workspace,
                registry="",
                endpoint="",
                seeds_per_task=options.seeds_per_task,
                promotion=options.promotion,
                runs=options.runs,
            )
        except RuntimeError as error:
            if FAILED_TASK not in str(error):
                raise
            print(error)  # the failed stage has emitted its own error
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
