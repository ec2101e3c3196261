"""Flags of the verbs that serve checkpoints."""

from __future__ import annotations

import argparse


def add_server_flags(serve: argparse.ArgumentParser) -> None:
    """Flags that the predictor gets as they are, and checks."""
    serve.add_argument("--grpc-port", metavar="PORT", help="also serve KServe's gRPC there (KServe's is 8081)")
    serve.add_argument("--device", help="cpu (the default) or cuda")
    serve.add_argument("--dtype", help="of matrix products: auto (the default; bf16 on cuda), fp32, bf16 or int8")
    serve.add_argument("--memory", metavar="SIZE", help="of keys and values, such as 2GiB (default: half of the free)")
    serve.add_argument("--max-queue", metavar="N", help="requests that wait before others get HTTP 429 (default 256)")
    serve.add_argument("--timeout", metavar="SECONDS", help="after which a request gets HTTP 408 (default 600)")
    serve.add_argument("--log-prompts", action="store_true", help="write the prompts of requests into the log")


def add_measurement_flags(measure: argparse.ArgumentParser) -> None:
    """Flags that say what `crossover measure-serving` measures."""
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
