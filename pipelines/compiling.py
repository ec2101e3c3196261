"""Compile a pipeline for a cluster to YAML and lint it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from crossover_pipelines.cluster_profile import ClusterProfile, profile_of
from crossover_pipelines.command_options import Options, options_of
from crossover_pipelines.crossover_study.pipeline import LITERALS, build_pipeline
from crossover_pipelines.ir_lint import lint
from kfp import compiler
from kfp.dsl.base_component import BaseComponent

from crossover.errors import CrossoverError
from crossover.failures import exit_code_of
from crossover.files import write_text


def compile_pipeline(pipeline: BaseComponent, literals: Mapping[str, Sequence[str]] | None = None) -> str:
    """Compile a pipeline.

    Args:
        pipeline: as `build_pipeline` returns it.
        literals: values of parameters that the form offers in a drop-down, by name.

    Returns:
        YAML: the pipeline, and where it has settings of pods a second document with them.

    Raises:
        CrossoverError: the pipeline has a construct that the lint rejects.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        text = path.read_text(encoding="utf-8")
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    if problems := lint(documents[0]):
        raise CrossoverError("the pipeline would not run the same everywhere: " + "; ".join(problems))
    for name, values in (literals or {}).items():
        documents[0]["root"]["inputDefinitions"]["parameters"][name]["literals"] = list(values)
    comments = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    return comments + yaml.safe_dump_all(documents, allow_unicode=True, width=120)


def compile_study(profile: ClusterProfile) -> str:
    """The study's pipeline for a cluster, as YAML."""
    return compile_pipeline(build_pipeline(profile.parallelism, profile), LITERALS)


def main(options: Options) -> int:
    """Write the YAML to the file `out`, or to standard output for `-`."""
    text, out = compile_study(profile_of(options)), options.values["out"]
    if out == "-":
        sys.stdout.write(text)
    else:
        write_text(Path(out), text)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(options_of(sys.argv))))
