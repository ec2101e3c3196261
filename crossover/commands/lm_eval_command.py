"""`crossover lm-eval`: lm-evaluation-harness with our checkpoints as models."""

from __future__ import annotations

import argparse


def lm_eval(options: argparse.Namespace) -> int:
    """Hand all arguments over to the harness."""
    from crossover.evaluation.lm_eval_adapter import run

    return run(options.arguments)
