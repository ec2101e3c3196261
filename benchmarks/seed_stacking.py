"""Throughput of several seeds of one small run: sequential, in processes, or stacked in one model.

    python -m benchmarks.seed_stacking [--device cuda]

One after another with all cores; as many processes as cores, one thread each (what `crossover run` does, the same bits
as one by one with one thread); and all seeds as one stacked model under torch.func.vmap, forward and backward only.
Prints a Markdown table of tokens per second, medians of timed steps.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from crossover.model.model_presets import preset
from crossover.model.transformer import Transformer
from crossover.settings import available_cores
from crossover.study.arms import ARMS
from crossover.study.study_parts import TrainingConfig
from crossover.tokenization.tokenizer import MASK, VOCAB_SIZE
from crossover.training.batch_order import batch_at
from crossover.training.distributed import World
from crossover.training.run_spec import pair_generator
from crossover.training.train_engine import TrainEngine

SEEDS, BATCH, LENGTH, MODEL = 5, 32, 64, "nano"
WARM, TIMED = 5, 41


def main() -> int:
    """Time the three ways, or be the child of one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seed_stacking")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        torch.set_num_threads(1)
        print(_one_by_one(options.device))
        return 0
    cores = available_cores()
    torch.set_num_threads(cores)
    rows = {f"one by one, {cores} threads": _one_by_one(options.device)}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.seed_stacking", "--child", "--device", options.device]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(cores)]
    rows[f"{cores} processes, one thread each"] = sum(float(child.communicate()[0]) for child in children)
    rows[f"{SEEDS} seeds stacked (vmap), {cores} threads, no optimizer"] = _stacked(options.device)
    print(f"{cores} cores, torch {torch.__version__}, {options.device}; {MODEL}, batch {BATCH} x {LENGTH}, arm dlm\n")
    print("| way | tokens/s, all runs together | x one by one |\n|---|---|---|")
    first = next(iter(rows.values()))
    for name, rate in rows.items():
        print(f"| {name} | {rate:,.0f} | {rate / first:.2f} |")
    return 0


def _one_by_one(device: str) -> float:
    fields = {"batch_size": BATCH, "device": device, "precision": "fp32", "compile": False}  # as the stacked model
    config = TrainingConfig.model_validate(fields)
    shape = preset(MODEL, vocab_size=VOCAB_SIZE, max_length=LENGTH)
    engine = TrainEngine(config, shape, ARMS["dlm"], seed=0, length=LENGTH, world=World())
    engine.set_weights(engine.model.draws(pair_generator(0)))
    examples = torch.randint(0, 256, (512, LENGTH)).to(torch.uint16).numpy()
    times = []
    for step in range(WARM + TIMED):
        began = time.perf_counter()
        engine.gradients(step, batch_at(0, step, batch_size=BATCH, examples=512), examples)
        engine.apply(1e-3)
        times.append(time.perf_counter() - began)
    return BATCH * LENGTH / statistics.median(times[WARM:])


def _stacked(device: str) -> float:
    shape = preset(MODEL, vocab_size=VOCAB_SIZE, max_length=LENGTH)
    models = [Transformer(shape, causal=False, mask_id=MASK) for _ in range(SEEDS)]
    for seed, model in enumerate(models):
        model.initialise(pair_generator(seed))
    parameters, buffers = stack_module_state([model.to(device) for model in models])
    base = models[0]
    tokens_SBL = torch.randint(0, 256, (SEEDS, BATCH, LENGTH), device=device)
    weights_SBL = torch.rand(SEEDS, BATCH, LENGTH, device=device)

    def loss_of(
        one: dict[str, torch.Tensor], tables: dict[str, torch.Tensor], tokens_BL: torch.Tensor, weights_BL: torch.Tensor
    ) -> torch.Tensor:
        logits_BLV = functional_call(base, (one, tables), (tokens_BL,))
        return (F.cross_entropy(logits_BLV.transpose(1, 2), tokens_BL, reduction="none") * weights_BL).mean()

    times = []
    for _ in range(WARM + TIMED):
        began = time.perf_counter()
        losses_S = vmap(loss_of)(parameters, buffers, tokens_SBL, weights_SBL)
        torch.autograd.grad(losses_S.sum(), list(parameters.values()))
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return SEEDS * BATCH * LENGTH / statistics.median(times[WARM:])


if __name__ == "__main__":
    sys.exit(main())
