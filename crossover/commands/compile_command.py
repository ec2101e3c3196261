"""`crossover compile`: the pipeline as YAML for Kubeflow Pipelines."""

from __future__ import annotations

import argparse
import subprocess
import sys


def compile(options: argparse.Namespace) -> int:
    """Compile in a child process: the library does not import the pipelines, which are built on it."""
    return subprocess.run([sys.executable, "-m", "crossover_pipelines.compiling", options.out], check=False).returncode
