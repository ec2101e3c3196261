"""Flags of the predictor."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from crossover_services.predictor.http_limits import MOST_BODY_BYTES, READ_SECONDS

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def size(text: str) -> int:
    """Bytes of a text such as `2GiB`, `500MB` or `1000000`.

    Raises:
        ArgumentTypeError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", text.strip().upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write for example 2GiB or 500MB")
    return int(float(match[1]) * UNITS[match[2] or ""])


def _at_least(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return count


def seconds(text: str) -> float:
    """A positive number of seconds.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value


def server_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags of this process, or those given."""
    parser = argparse.ArgumentParser(prog="python -m crossover_services.predictor", description="Serve one checkpoint.")
    text = "checkpoint folder (KServe mounts /mnt/models), file:///folder or s3://bucket/folder"
    parser.add_argument("--checkpoint", required=True, help=text)
    parser.add_argument("--digest", default="", help="refuse a checkpoint with another digest")
    text = "refuse a checkpoint that this registry (SQLAlchemy URL, or http(s) of its service) has not promoted"
    parser.add_argument("--registry", default="", metavar="URL", help=text)
    parser.add_argument("--model-name", default="crossover", help="name that clients use")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 in a container")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free port")
    parser.add_argument("--port-file", type=Path, help="written with the port once connections are accepted")
    parser.add_argument("--grpc-port", type=int, default=0, help="of KServe's gRPC (KServe's is 8081); 0 serves none")
    engine_flags(parser)
    text = "seconds for the headers of a request, and for its body unless it comes at 10 kB/s or faster"
    parser.add_argument("--read-timeout", type=seconds, default=READ_SECONDS, metavar="SECONDS", help=text)
    text = "largest body of a request, such as 10MB; larger ones get HTTP 413"
    parser.add_argument("--max-body", type=size, default=MOST_BODY_BYTES, metavar="SIZE", help=text)
    parser.add_argument(
        "--examples", type=Path, metavar="FILE", help="held-out text that the page at / offers, as JSON"
    )
    text = "let pages of this origin call the server, so that its page shows both; may be repeated, * is every origin"
    parser.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN", help=text)
    return parser.parse_args(arguments)


def engine_flags(parser: argparse.ArgumentParser) -> None:
    """Those about how requests are decoded."""
    text = "requests that wait before further ones get HTTP 429"
    parser.add_argument("--max-queue", type=_at_least(1), default=256, metavar="N", help=text)
    parser.add_argument("--max-running", type=_at_least(1), default=64, metavar="N", help="requests decoded at once")
    text = "of keys and values, such as 2GiB; requests wait for it (default: half of what is free)"
    parser.add_argument("--memory", type=size, default=0, metavar="SIZE", help=text)
    text = "of matrix products; auto is bf16 on cuda, fp32 on cpu"
    parser.add_argument("--dtype", choices=["auto", "fp32", "bf16", "int8"], default="auto", help=text)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the model runs")
    text = "seconds after which a request gets HTTP 408, unless it asks for fewer"
    parser.add_argument("--timeout", type=seconds, default=600.0, metavar="SECONDS", help=text)
    text = "write the prompts of requests into the log, which has none otherwise"
    parser.add_argument("--log-prompts", action="store_true", help=text)
