"""A predictor with flags of its own, for a test or a module."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

START_SECONDS = 120.0


@dataclass
class Predictor:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    log_file: Path

    @property
    def address(self) -> tuple[str, int]:
        """For raw sockets."""
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def log(self) -> str:
        """All that it wrote to standard error."""
        return self.log_file.read_text()

    def terminate(self) -> None:
        """SIGTERM; returns once the server has seen it."""
        self.process.send_signal(signal.SIGTERM)


def command(checkpoint: Path | str, *flags: str) -> list[str]:
    """The command line of a predictor."""
    module = [sys.executable, "-m", "crossover_services.predictor"]
    return [*module, "--checkpoint", str(checkpoint), "--port", "0", *flags]


@contextmanager
def predictor(checkpoint: Path | str, folder: Path, *flags: str) -> Iterator[Predictor]:
    """Start a predictor, and kill it afterwards if it still runs.

    Args:
        checkpoint: that it serves.
        folder: for its log.
        flags: further ones.
    """
    log = folder / "predictor.log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            command(checkpoint, *flags),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("serving "), log.read_text()
            yield Predictor(process, line.split()[-1], log)
        finally:
            process.kill()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not come true in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def infer_message(max_tokens: int, prompt: bytes = b"x") -> pb.ModelInferRequest:
    """A request of KServe's gRPC for so many tokens."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="prompt", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(prompt)
    message = pb.ModelInferRequest(model_name="crossover", inputs=[tensor])
    message.parameters["max_tokens"].int64_param = max_tokens
    message.parameters["ignore_eos"].bool_param = True
    return message
