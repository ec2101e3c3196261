"""`crossover compile`, `upload` and `submit`: the pipeline for Kubeflow Pipelines.

Each is a child process: the library does not import the pipelines, which are built on it.
"""

from __future__ import annotations

import argparse

from crossover.commands.child_process import start


def compile(options: argparse.Namespace) -> int:
    """The pipeline as YAML."""
    return _start("compiling", options, "out", "profile")


def upload(options: argparse.Namespace) -> int:
    """The pipeline as a version in Kubeflow Pipelines."""
    return _start("uploading", options, "host", "profile", "namespace", "token_file")


def submit(options: argparse.Namespace) -> int:
    """A study as a run in Kubeflow Pipelines."""
    place = ("host", "profile", "namespace", "token_file", "experiment", "follow")
    plan = ("promote", "seeds_per_task", "runs", "data_shards")
    return _start("submitting", options, *place, "study", "out", "registry", "endpoint", *plan)


def _start(module: str, options: argparse.Namespace, *names: str) -> int:
    return start(f"crossover_pipelines.{module}", {name: getattr(options, name) for name in names})
