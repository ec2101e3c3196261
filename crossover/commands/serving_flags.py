"""The flags of `crossover measure-serving`."""

from __future__ import annotations

import argparse


def add_serving_flags(measure: argparse.ArgumentParser) -> None:
    """What is measured, and how the diffusion model decodes."""
    text = "clients at once, rising (default 1,2,4,8,16,32)"
    measure.add_argument("--concurrency", metavar="N,N,…", default="1,2,4,8,16,32", help=text)
    measure.add_argument("--repeats", type=int, default=3, help="of each concurrency (default 3)")
    text = "of an answer and of a prompt, at most half of the context (default 64)"
    measure.add_argument("--tokens", type=int, default=64, help=text)
    measure.add_argument("--block-length", type=int, default=32, help="of the DLM's decoding (default 32)")
    text = "of the DLM's decoding: also commit tokens that are at least so likely (default 0.9)"
    measure.add_argument("--confidence-threshold", type=float, default=0.9, help=text)
    text = "of the DLM's decoding (default dual)"
    measure.add_argument("--cache", choices=("exact", "prefix", "dual"), default="dual", help=text)
    measure.add_argument("--json", action="store_true", help="print as JSON")
