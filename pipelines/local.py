"""Running the study's pipeline on one machine with kfp.local, in a process of its own.

kfp.local replaces `print` and the root logger, keeps global state, and tells nothing of a failed step but that it
failed: `crossover run` starts this module, reads its output, and keeps it in a log.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from crossover_pipelines.crossover_study.pipeline import build_pipeline
from kfp import local


def argument_text(study_json: str) -> str:
    """The study's JSON with the two texts that kfp.local rewrites inside arguments, `python3` and `{{$.`, escaped."""
    return study_json.replace("python3", "python\\u0033").replace("{{$.", "{\\u007b$.")


def main() -> int:
    """Run the pipeline; the arguments are those that `crossover run` gives."""
    parser = argparse.ArgumentParser(prog="python -m crossover_pipelines.local")
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--promotion", required=True)
    parser.add_argument("--seeds-per-task", type=int, required=True)
    parser.add_argument("--parallelism", type=int, required=True)
    parser.add_argument("--runs", default="", help="the runs of one round; all when empty")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--study", type=Path, required=True, help="study.json of the workspace")
    options = parser.parse_args()
    study = json.dumps(json.loads(options.study.read_text("utf-8"))["study"])
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(options.root), raise_on_error=True)
    build_pipeline(options.parallelism)(
        study=argument_text(study),
        workspace=options.workspace,
        registry=options.registry,
        seeds_per_task=options.seeds_per_task,
        promotion=options.promotion,
        runs=options.runs,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
