"""How fast the predictor answers, beside `transformers`, and a DLM's settings beside its plain sampler.

    python -m benchmarks.serving                                       random weights of preset 14m: speed only
    python -m benchmarks.serving --checkpoint AR --checkpoint DLM --workspace WS
    python -m benchmarks.serving --only ar --weights fp32 --repeats 1   a part of it, quickly

Every peer loads the same checkpoint; peers alternate within one run, and tables have medians of the rounds. Only
generated tokens are counted, by the server's own usage: no prompts, no padding. Prompts are all different, so that no
prefix is reused. Clients run on the same cores as the server. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import serving_diffusion, serving_peers
from benchmarks.calibration.detectors import markdown
from benchmarks.serving_peers import Client, Measured, Prompt, TransformersPeer, body, engine_answers, greedy, timed
from crossover.commands.serving_load import run_load
from crossover.decoding.engine import Engine
from crossover.decoding.generation_request import Completion, Generation
from crossover.decoding.packed_linear import Precision
from crossover.model.model_presets import preset
from crossover.model.transformer import Transformer
from crossover.settings import available_cores
from crossover.tokenization.tokenizer import MASK, VOCAB_SIZE
from crossover.training.checkpoint import save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo, read_info

DTYPES = ("fp32", "bf16")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
TARGETS = {1: 1.3, 8: 3.0}
"""Times the tokens per second of transformers, by concurrency."""
OURS = ("server, streaming", "server", "engine alone")
OVERHEAD_TOKENS, OVERHEAD_REQUESTS = 8, 100
LENGTH = 256


def main() -> int:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(available_cores())
    print(f"{available_cores()} cores, {platform.machine()}, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as temporary:
        folders = options.checkpoint or [
            random_checkpoint(Path(temporary) / f, f, options.preset) for f in ("AR", "DLM")
        ]
        by_family = {read_info(folder).family: folder for folder in folders}
        for part in options.only:
            family = "DLM" if part == "dlm" else "AR"
            if family not in by_family:
                print(f"\n(no {family} checkpoint: `{part}` is left out)")
                continue
            PARTS[part](by_family[family], options)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--checkpoint", type=Path, action="append", help="folder; once for each family")
    parser.add_argument("--workspace", type=Path, help="of the study whose held-out text the DLM fills")
    parser.add_argument("--preset", default="14m", help="of random weights, without --checkpoint")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--weights", nargs="+", choices=DTYPES, default=DTYPES, help="types of matrix products")
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all peers")
    parser.add_argument("--requests", type=int, default=16, help="of a peer in a round; a quarter at concurrency 1")
    parser.add_argument("--tokens", type=int, default=64, help="that a request generates")
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--passages", type=int, default=16, help="that a DLM fills in each setting")
    parser.add_argument("--clients", type=int, default=64, help="that stream at once")
    return parser.parse_args()


def random_checkpoint(folder: Path, family: str, name: str) -> Path:
    """A checkpoint of a family with random weights."""
    config = preset(name, vocab_size=VOCAB_SIZE, max_length=LENGTH)
    model = Transformer(config, causal=family == "AR", mask_id=MASK)
    model.initialise(torch.Generator().manual_seed(0))
    info = CheckpointInfo.model_validate(
        {"run": "random", "run_digest": "", "arm": family.lower(), "family": family, "seed": 0, "step": 0}
        | {"tokens": 0, "flops": 0.0, "seconds": 0.0, "model": config}
    )
    save_checkpoint(folder, info, model.state_dict())
    return folder


class Prompts:
    """Random prompts of equal length, never the same one twice."""

    def __init__(self, tokens: int) -> None:
        self._draw, self._tokens = np.random.default_rng(0), tokens

    def take(self, count: int) -> list[Prompt]:
        """So many new ones."""
        return [tuple(int(t) for t in self._draw.integers(32, 127, self._tokens)) for _ in range(count)]


def measure_ar(folder: Path, options: argparse.Namespace) -> None:
    """Tokens per second of an autoregressive model, by concurrency and type of its weights."""
    print("## Autoregressive: tokens/s\n")
    prompts, lines = Prompts(options.prompt_tokens), []
    for dtype in options.weights:
        engine, peer = serving_peers.load_engine(folder, dtype), TransformersPeer(folder, dtype)
        with serving_peers.server(folder, dtype) as url:
            for at_once, target in TARGETS.items():
                count = max(options.requests // (1 if at_once > 1 else 4), at_once)
                peers = _peers(partial(prompts.take, count), options.tokens, at_once, engine, url, peer)
                rates = _rates(peers, options.repeats)
                plain, static = rates["one by one"], rates[f"static batch of {at_once}"]
                shown = [f"{rates[name]:,.0f} ({rates[name] / plain:.1f}, {rates[name] / static:.1f})" for name in OURS]
                lines.append([dtype, str(at_once), *shown, f"{plain:,.0f}", f"{static:,.0f}", f"{target:g}"])
        engine.close()
    head = ("weights", "at once", *OURS, "transformers, one by one", "transformers, one static batch", "target")
    print(markdown(head, lines))
    print(
        f"\nIn brackets: times transformers one by one, and times its static batch. {options.prompt_tokens} tokens of "
        f"prompt, {options.tokens} generated, greedy, no EOS; medians of {options.repeats}."
    )


def _peers(
    take: Callable[[], list[Prompt]], tokens: int, at_once: int, engine: Engine, url: str, peer: TransformersPeer
) -> dict[str, Callable[[], int]]:
    """Who answers new prompts, and returns how many tokens it generated."""

    def bodies() -> list[dict[str, Any]]:
        return [body(prompt, tokens) for prompt in take()]

    def of_engine() -> int:
        asked = [greedy(prompt, tokens) for prompt in take()]
        return sum(len(answer.tokens) for answer in engine_answers(engine, asked, at_once))

    return {
        "server, streaming": lambda: serving_peers.streamed(url, bodies(), at_once),
        "server": lambda: serving_peers.whole(url, bodies(), at_once),
        "engine alone": of_engine,
        "one by one": lambda: peer.generate(take(), tokens, 1),
        f"static batch of {at_once}": lambda: peer.generate(take(), tokens, at_once),
    }


def _rates(peers: dict[str, Callable[[], int]], repeats: int) -> dict[str, float]:
    """Median tokens per second of each, alternating; a first round warms up and is not counted."""
    rounds: list[dict[str, Measured]] = []
    for _ in range(repeats + 1):
        rounds.append({name: timed(work) for name, work in peers.items()})
    return {name: statistics.median(each[name].rate for each in rounds[1:]) for name in peers}


def measure_clients(folder: Path, options: argparse.Namespace) -> None:
    """Many streaming clients at once."""
    print(f"\n## {options.clients} streaming clients\n")
    prompts = Prompts(options.prompt_tokens)
    lines = []
    for dtype in options.weights:
        with serving_peers.server(folder, dtype) as url:
            for _ in range(options.repeats):
                bodies = [body(prompt, options.tokens) for prompt in prompts.take(2 * options.clients)]
                got = run_load(url, bodies, concurrency=options.clients)
                times = (got.first_token_p50, got.first_token_p99, got.total_p50, got.total_p99)
                lines.append([dtype, str(got.requests), str(got.errors), f"{got.tokens_per_second:,.0f}"])
                lines[-1] += [f"{seconds:.2f}" for seconds in times]
    head = ("weights", "requests", "errors", "tokens/s", "first token p50, s", "p99", "total p50, s", "p99")
    print(markdown(head, lines))


def measure_overhead(folder: Path, _: argparse.Namespace) -> None:
    """What HTTP adds to a request: the client's time beside the engine's within the server, and the engine's alone."""
    print("\n## HTTP over the engine alone, one client\n")
    prompts = Prompts(16)
    alone, over_http = [], []
    engine = serving_peers.load_engine(folder, "fp32")
    with serving_peers.server(folder, "fp32") as url:
        client = Client(url)
        client.ask(body(prompts.take(1)[0], OVERHEAD_TOKENS))
        before = serving_peers.engine_seconds(url)
        for _round in range(OVERHEAD_REQUESTS):  # alternating, so that both meet the same machine
            (one, other), began = prompts.take(2), time.perf_counter()
            engine_answers(engine, [greedy(one, OVERHEAD_TOKENS)])
            between = time.perf_counter()
            client.ask(body(other, OVERHEAD_TOKENS))
            alone.append(between - began)
            over_http.append(time.perf_counter() - between)
        within = (serving_peers.engine_seconds(url) - before) / OVERHEAD_REQUESTS
    engine.close()
    head = ("mean of", "engine, ms", "over HTTP, ms", "difference, ms", "target")
    means = (1000 * statistics.fmean(alone), 1000 * within, 1000 * statistics.fmean(over_http))
    rows = [
        ("the engine within the server, the same requests", means[1]),
        ("the engine in a process of its own", means[0]),
    ]
    print(markdown(head, [[n, f"{own:.2f}", f"{means[2]:.2f}", f"{means[2] - own:.2f}", "1"] for n, own in rows]))
    print(f"\n{OVERHEAD_REQUESTS} requests of {OVERHEAD_TOKENS} tokens each, not streamed, on a kept connection.")


def measure_precision(folder: Path, options: argparse.Namespace) -> None:
    """What lower precision costs in likelihood, and what it gains in speed."""
    print("\n## Autoregressive, by type of the weights\n")
    length = read_info(folder).model.max_length
    texts = serving_diffusion.texts_for(options.workspace, options.passages, length)
    tokens, lines, exact = min(options.tokens, length // 2), [], 0.0
    prompts = Prompts(min(options.prompt_tokens, length - tokens))
    for dtype in PRECISIONS:
        engine = serving_peers.load_engine(folder, dtype)
        scored = [Generation(prompt=tuple(t), max_tokens=0, prompt_logprobs=True, logprobs=0) for t in texts]
        nats = [x.logprob for a in engine_answers(engine, scored) for x in a.prompt_logprobs if x.logprob is not None]
        bits = -statistics.fmean(nats) / math.log(2)
        exact = exact or bits
        asked = [greedy(prompt, tokens) for prompt in prompts.take(options.requests)]
        rates = [timed(lambda: tokens_of(engine_answers(engine, asked, 8))).rate for _ in range(options.repeats)]  # noqa: B023 - called before the next turn
        lines.append([dtype, f"{bits:.4f}", f"{bits - exact:+.4f}", f"{statistics.median(rates):,.0f}"])
        engine.close()
    print(markdown(("weights", "bits a byte", "loss", "tokens/s, 8 at once"), lines))


def tokens_of(answers: list[Completion]) -> int:
    """Tokens that were generated."""
    return sum(len(answer.tokens) for answer in answers)


def measure_dlm(folder: Path, options: argparse.Namespace) -> None:
    """Speed and quality of a diffusion model's settings beside its plain sampler."""
    length = read_info(folder).model.max_length
    texts = serving_diffusion.texts_for(options.workspace, options.passages, length)
    source = f"held-out text of {options.workspace.name}" if options.workspace else "random text: only speed counts"
    tokens = min(options.tokens, length // 2)
    for dtype in options.weights:
        engine = serving_peers.load_engine(folder, dtype)
        for name, head, lines in serving_diffusion.tables(engine, texts, tokens, options.repeats):
            print(f"\n## Masked diffusion, {dtype}, {name}\n")
            print(markdown(head, lines), flush=True)
        engine.close()
    print(
        f"\n{len(texts)} passages of {length} tokens, {source}; greedy; medians of {options.repeats}. "
        "Target: 10x the plain sampler, at a loss of 1 point at most."
    )


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "ar": measure_ar,
    "clients": measure_clients,
    "overhead": measure_overhead,
    "precision": measure_precision,
    "dlm": measure_dlm,
}

if __name__ == "__main__":
    raise SystemExit(main())
