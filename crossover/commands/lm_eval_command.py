"""`crossover lm-eval`: lm-evaluation-harness with Crossover's checkpoints as models."""

from __future__ import annotations

import argparse


def lm_eval(options: argparse.Namespace) -> int:
    """Pass all arguments on to the harness; returns its exit code."""
    from crossover.evaluation.lm_eval_adapter import run

    return run(options.arguments)
