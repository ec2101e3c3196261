"""Who answers in `benchmarks.serving`: our engine, our server, and `transformers`, from the same checkpoint folder.

Every peer takes prompts as token ids and returns how many tokens it generated; padding and prompts are not counted.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from crossover.commands.serving_load import run_load
from crossover.decoding.engine import Engine
from crossover.decoding.engine_events import Event, Failed, Finished
from crossover.decoding.generation_request import Completion, Generation, Infilling
from crossover.decoding.packed_linear import Precision
from crossover.tokenization.tokenizer import BOS, EOS
from crossover.training.checkpoint import load_checkpoint

Prompt = tuple[int, ...]
START_SECONDS = 120.0


@dataclass(frozen=True)
class Measured:
    """Tokens that a peer generated, and how long it took."""

    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


def timed(work: Callable[[], int]) -> Measured:
    """Run what returns a number of tokens."""
    began = time.perf_counter()
    tokens = work()
    return Measured(tokens, time.perf_counter() - began)


def load_engine(folder: Path, precision: Precision) -> Engine:
    """The engine of a checkpoint, warm."""
    model, _ = load_checkpoint(folder)
    engine = Engine(model, precision=precision)
    engine.warm_up()
    return engine


def engine_answers(
    engine: Engine, requests: Sequence[Generation | Infilling], concurrency: int = 1
) -> list[Completion]:
    """Completions in the order of the requests, so many of them in the engine at once.

    Raises:
        RequestError: one failed.
    """
    events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
    answers: dict[int, Completion] = {}
    waiting = iter(enumerate(requests))

    def arrived(i: int, event: Event) -> None:
        events.put((i, event))

    def submit() -> None:
        for i, request in waiting:
            engine.submit(request, partial(arrived, i))
            return

    for _ in range(concurrency):
        submit()
    while len(answers) < len(requests):
        i, event = events.get()
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Finished):
            answers[i] = event.completion
            submit()
    return [answers[i] for i in range(len(requests))]


def greedy(prompt: Prompt, tokens: int) -> Generation:
    """A request for exactly so many tokens."""
    return Generation(prompt=prompt, max_tokens=tokens, temperature=0.0, ignore_eos=True)


def body(prompt: Prompt, tokens: int) -> dict[str, Any]:
    """The same over HTTP."""
    fields = {"max_tokens": tokens, "temperature": 0.0, "seed": 0, "ignore_eos": True}
    return {"model": "crossover", "prompt": list(prompt)} | fields


@contextmanager
def server(folder: Path, dtype: str) -> Iterator[str]:
    """A predictor of a checkpoint, in a process of its own.

    Yields:
        Its base URL.

    Raises:
        RuntimeError: it did not start.
    """
    with tempfile.TemporaryDirectory() as temporary:
        port_file, output = Path(temporary) / "port", Path(temporary) / "output"
        command = [sys.executable, "-m", "crossover_services.predictor", "--checkpoint", str(folder), "--port", "0"]
        with (
            output.open("wb") as file,
            subprocess.Popen(
                [*command, "--dtype", dtype, "--port-file", str(port_file)], stdout=file, stderr=file
            ) as process,
        ):
            try:
                deadline = time.monotonic() + START_SECONDS
                while not port_file.exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"the predictor did not start: {output.read_text(errors='replace')}")
                    time.sleep(0.05)
                yield f"http://127.0.0.1:{port_file.read_text()}"
            finally:
                process.terminate()


def streamed(url: str, bodies: Sequence[dict[str, Any]], concurrency: int) -> int:
    """Tokens of streamed answers.

    Raises:
        RuntimeError: a request failed.
    """
    result = run_load(url, bodies, concurrency=concurrency)
    if result.errors:
        raise RuntimeError(result.first_error)
    return result.tokens


class Client:
    """One kept connection to a server."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=600)

    def ask(self, request: dict[str, Any]) -> int:
        """Tokens of an answer that is not streamed.

        Raises:
            RuntimeError: the server refuses.
        """
        self._connection.request("POST", "/v1/completions", json.dumps(request), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        answer = json.load(response)
        if response.status != 200:
            raise RuntimeError(str(answer))
        return int(answer["usage"]["completion_tokens"])


def engine_seconds(url: str) -> float:
    """Seconds that requests were in a server's engine, from submission to the last token, by its own metrics."""
    with urllib.request.urlopen(f"{url}/metrics") as response:  # noqa: S310 - our own server on loopback
        lines = response.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("crossover_request_seconds_sum")))


def whole(url: str, bodies: Sequence[dict[str, Any]], concurrency: int) -> int:
    """Tokens of answers that are not streamed, from so many clients."""
    shares = [bodies[i::concurrency] for i in range(concurrency)]

    def client(share: Sequence[dict[str, Any]]) -> int:
        connection = Client(url)
        return sum(connection.ask(request) for request in share)

    with ThreadPoolExecutor(concurrency) as pool:
        return sum(pool.map(client, shares))


class TransformersPeer:
    """`transformers`' own generate of the same folder.

    Args:
        folder: the checkpoint of an autoregressive model.
        dtype: fp32 or bf16.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        from transformers import AutoModelForCausalLM

        kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).eval()

    def generate(self, prompts: Sequence[Prompt], tokens: int, batch: int) -> int:
        """Tokens of greedy answers, static batches of so many prompts of equal length, one batch after another."""
        made = 0
        for start in range(0, len(prompts), batch):
            rows = [[BOS, *prompt] for prompt in prompts[start : start + batch]]
            ids = torch.tensor(rows)
            with torch.inference_mode():
                answer = self.model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=tokens,
                    min_new_tokens=tokens,
                    do_sample=False,
                    pad_token_id=EOS,
                )
            made += (answer.shape[1] - ids.shape[1]) * len(rows)
        return made
