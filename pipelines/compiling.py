"""Compile a pipeline to YAML and lint it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import yaml
from crossover_pipelines.crossover_study.pipeline import build_pipeline
from crossover_pipelines.ir_lint import lint
from kfp import compiler
from kfp.dsl.base_component import BaseComponent

from crossover.errors import CrossoverError
from crossover.failures import exit_code_of
from crossover.files import write_text


def compile_pipeline(pipeline: BaseComponent) -> str:
    """Compile a pipeline.

    Returns:
        The pipeline's YAML.

    Raises:
        CrossoverError: the pipeline has a construct that the lint rejects.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        text = path.read_text(encoding="utf-8")
    problems = lint(yaml.safe_load(text))
    if problems:
        raise CrossoverError("the pipeline would not run the same everywhere: " + "; ".join(problems))
    return text


def main(arguments: list[str]) -> int:
    """Write the YAML to the file `arguments[0]`, or to standard output for `-`."""
    text = compile_pipeline(build_pipeline())
    if arguments[0] == "-":
        sys.stdout.write(text)
    else:
        write_text(Path(arguments[0]), text)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(sys.argv[1:])))
