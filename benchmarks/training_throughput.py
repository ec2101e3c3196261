"""Throughput of a training step, compared with other implementations on this machine.

    python -m benchmarks.training_throughput    on a CPU: 14M parameters, batch 16 x 256, both arms and Llama

A GPU is measured by `benchmarks.gpu`, with the cases of this file.

Peers are the same shape as a transformers Llama, as a Qwen3, which has our QK-norm too, and as litgpt's GPT (`pip
install litgpt lightning`; left out where it is not installed), each with the same fused AdamW, gradient clipping and
random tokens. Every case runs in a process of its own: warm-up steps, then the median of timed ones. Prints Markdown
tables.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from crossover.model.model_presets import preset
from crossover.settings import available_cores, get_settings
from crossover.study.arms import ARMS
from crossover.study.study_parts import TrainingConfig
from crossover.training.batch_order import batch_at
from crossover.training.device_metrics import peak_flops, peak_memory
from crossover.training.distributed import World
from crossover.training.train_engine import TrainEngine

CPU_SHAPE = {"model": "14m", "batch": 16, "length": 256, "vocab": 259, "device": "cpu", "warm": 3, "timed": 9}
Shape = dict[str, Any]
"""A case: who steps (`arm` or `peer`), the model, the batch, and how it is timed."""


def main() -> int:
    """Run the cases, or one of them as a child."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_throughput")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(_case(json.loads(options.case))))
        return 0
    print(f"{available_cores()} cores, {platform.machine()}, torch {torch.__version__}\n")
    cases: list[Shape] = [
        {"peer": peer, "precision": kind, "compile": False} for peer in ("llama", "qwen3") for kind in ("fp32", "bf16")
    ]
    if importlib.util.find_spec("litgpt"):
        cases.append({"peer": "litgpt", "precision": "fp32", "compile": False})
    cases += [
        {"arm": arm, "precision": precision, "compile": compiled}
        for arm in ("ar", "dlm")
        for precision in ("fp32", "bf16")
        for compiled in (False, True)
    ]
    print("| step | precision | tokens/s | x Llama fp32 | peak memory, GiB |\n|---|---|---|---|---|")
    baseline = 0.0
    for case in cases:
        measured = measured_in_child(case | CPU_SHAPE)
        baseline = baseline or measured["tokens_per_second"]
        name = case.get("peer") or f"crossover {case['arm']}{', compiled' if case['compile'] else ''}"
        print(
            f"| {name} | {case['precision']} | {measured['tokens_per_second']:,.0f} | "
            f"{measured['tokens_per_second'] / baseline:.2f} | {measured['peak_gib']:.2f} |",
            flush=True,
        )
    print("\nTargets: 1.35 at fp32, 2.5 at the best precision.")
    return 0


def measured_in_child(case: Shape) -> dict[str, float]:
    """Time a case in a process of its own.

    Raises:
        CalledProcessError: it failed; its standard error says why.
    """
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training_throughput", "--case", json.dumps(case)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _case(case: Shape) -> dict[str, float]:
    """Time one case in this process."""
    torch.set_num_threads(get_settings().threads or available_cores())
    step, flops = _peer(case) if "peer" in case else _own(case)
    times = []
    for _ in range(int(case["warm"]) + int(case["timed"])):
        began = time.perf_counter()
        step()
        if case["device"] == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    seconds = statistics.median(times[int(case["warm"]) :])
    device = torch.device(str(case["device"]))
    peak = peak_flops(device, str(case["precision"]), get_settings().peak_tflops)
    return {
        "tokens_per_second": int(case["batch"]) * int(case["length"]) / seconds,
        "seconds": seconds,
        "flops": flops,
        "mfu": flops / seconds / peak if peak else 0.0,
        "peak_gib": peak_memory(device) / 2**30,
    }


def training_config(case: Shape) -> TrainingConfig:
    """The training settings of a case."""
    return TrainingConfig.model_validate(
        {
            "batch_size": case["batch"],
            "microbatch_size": case.get("microbatch"),
            "precision": case["precision"],
            "compile": case["compile"],
            "device": case["device"],
        }
    )


def _own(case: Shape) -> tuple[Callable[[], None], float]:
    length, batch = int(case["length"]), int(case["batch"])
    shape = preset(str(case["model"]), vocab_size=int(case["vocab"]), max_length=length)
    engine = TrainEngine(training_config(case), shape, ARMS[str(case["arm"])], seed=0, length=length, world=World())
    _draw_weights(engine.model)
    examples = torch.randint(0, 256, (4 * batch, length)).to(torch.uint16).numpy()
    done = 0

    def step() -> None:
        nonlocal done
        engine.gradients(done, batch_at(0, done, batch_size=batch, examples=len(examples)), examples)
        engine.apply(1e-4)
        done += 1

    return step, engine.flops_per_step


def _draw_weights(model: torch.nn.Module) -> None:
    """Random weights, drawn on the model's device: `Transformer.draws` takes longer on a CPU than what is timed."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.02)
            else:
                parameter.fill_(1.0)


def _peer(case: Shape) -> tuple[Callable[[], None], float]:
    length, batch, vocab = int(case["length"]), int(case["batch"]), int(case["vocab"])
    shape = preset(str(case["model"]), vocab_size=vocab, max_length=length)
    model: torch.nn.Module
    if case["peer"] in ("llama", "qwen3"):
        from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

        fields: dict[str, Any] = {
            "vocab_size": vocab,
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.intermediate_size,
            "num_hidden_layers": shape.num_layers,
            "num_attention_heads": shape.num_heads,
            "num_key_value_heads": shape.num_heads,
            "head_dim": shape.head_dim,
            "max_position_embeddings": 2 * length,
            "tie_word_embeddings": False,
        }
        if case["peer"] == "llama":
            model = LlamaForCausalLM(LlamaConfig(**fields))
        else:
            model = Qwen3ForCausalLM(Qwen3Config(**fields))
        logits_of = lambda tokens: model(input_ids=tokens).logits  # noqa: E731 - the other peer is such a function itself
    else:
        from litgpt import GPT, Config  # type: ignore[import-not-found]  # is installed for the comparison alone

        gpt = GPT(
            Config(
                block_size=length,
                vocab_size=vocab,
                padded_vocab_size=vocab,
                n_layer=shape.num_layers,
                n_head=shape.num_heads,
                n_embd=shape.hidden_size,
                intermediate_size=shape.intermediate_size,
                norm_class_name="RMSNorm",
                mlp_class_name="LLaMAMLP",
                bias=False,
                parallel_residual=False,
                rotary_percentage=1.0,
            )
        )
        model, logits_of = gpt, gpt
    device = torch.device(str(case["device"]))
    model.to(device)
    if case["compile"]:
        model.compile(dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens_BL = torch.randint(0, 256, (batch, length), device=device)

    def step() -> None:
        for tokens in tokens_BL.split(case.get("microbatch") or batch):
            with torch.autocast(device.type, torch.bfloat16, enabled=case["precision"] == "bf16"):
                logits = logits_of(tokens)  # type: ignore[no-untyped-call]  # litgpt is not typed
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten())
            (loss * (len(tokens) / batch)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step, 3.0 * shape.forward_flops(keys=(length + 1) / 2) * batch * length


if __name__ == "__main__":
    sys.exit(main())
