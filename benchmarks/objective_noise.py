"""Variance of the diffusion objective's estimators, and the time that checkpoints add to training.

    python -m benchmarks.objective_noise

Trains a small diffusion model on the interpreter's own standard library for a while, then draws the loss of one fixed
batch, and the gradient of its head, many times under each estimator. Exact counts stratified over the batch is what
Crossover trains with. Then times steps with and without a checkpoint being written beside them. Prints Markdown tables.
"""

from __future__ import annotations

import statistics
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crossover.counter_rng import Stream
from crossover.model.model_presets import preset
from crossover.settings import available_cores, get_settings
from crossover.study.arms import ARMS, Arm
from crossover.study.study_parts import TrainingConfig
from crossover.training.background_writer import BackgroundWriter
from crossover.training.batch_order import batch_at
from crossover.training.checkpoint import save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo
from crossover.training.distributed import World
from crossover.training.run_spec import pair_generator
from crossover.training.token_masking import example_noise, mask_exactly, stratified_counts
from crossover.training.train_engine import TrainEngine
from crossover.training.training_objectives import masked_nll, weighted_token_nll

LENGTH, BATCH, STEPS, DRAWS = 256, 16, 300, 400
SAVES = 7


def main() -> int:
    """Train, draw, time, print."""
    torch.set_num_threads(available_cores())
    engine, examples = small_engine(), standard_library()
    for step in range(STEPS):
        engine.gradients(step, batch_at(0, step, batch_size=BATCH, examples=len(examples)), examples)
        engine.apply(3e-3)
    _variances(engine, examples)
    _stalls(engine, examples)
    return 0


def small_engine() -> TrainEngine:
    """An untrained diffusion model of 0.86M parameters, and what trains it."""
    shape = preset("micro", vocab_size=259, max_length=LENGTH)
    arm: Arm = ARMS["dlm"]
    engine = TrainEngine(TrainingConfig(batch_size=BATCH), shape, arm, seed=0, length=LENGTH, world=World())
    engine.set_weights(engine.model.draws(pair_generator(0)))
    return engine


def standard_library() -> NDArray[np.uint16]:
    """The interpreter's own library as examples (1024, LENGTH)."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    content = b"".join(file.read_bytes() for file in files)[: 1024 * LENGTH]
    return np.frombuffer(content, dtype=np.uint8).astype(np.uint16).reshape(-1, LENGTH)


def _variances(engine: TrainEngine, examples: NDArray[np.uint16]) -> None:
    batch = batch_at(0, STEPS, batch_size=BATCH, examples=len(examples))
    tokens_BL = torch.from_numpy(examples[batch.examples_B].astype(np.int64))
    rng = np.random.default_rng(0)
    draws: dict[str, list[float]] = {}
    norms: dict[str, list[torch.Tensor]] = {}
    head = engine.model.lm_head.weight
    for draw in range(DRAWS):
        noise_BL = example_noise(draw, Stream.CORRUPTION, batch, slice(0, BATCH), LENGTH)
        rate_B1 = 1.0 - rng.random((BATCH, 1))
        spread_B1 = 1.0 - ((rng.random() + np.arange(BATCH) / BATCH) % 1.0)[:, None]
        free_B = rng.integers(1, LENGTH + 1, BATCH)
        evenly_B = stratified_counts(BATCH, LENGTH, float(rng.random()))
        losses = {"Bernoulli, t uniform (plain 1/t)": _bernoulli(engine, tokens_BL, noise_BL < rate_B1, rate_B1)}
        losses["Bernoulli, t stratified"] = _bernoulli(engine, tokens_BL, noise_BL < spread_B1, spread_B1)
        for name, counts_B in (("exact count, k uniform", free_B), ("exact count, k stratified (Crossover)", evenly_B)):
            masked_BL = torch.from_numpy(mask_exactly(counts_B, noise_BL))
            losses[name] = masked_nll(engine.model, tokens_BL, masked_BL).mean()
        for name, loss in losses.items():
            draws.setdefault(name, []).append(float(loss.detach()))
            norms.setdefault(name, []).append(torch.autograd.grad(loss, head)[0].flatten())
    plain, *_ = (statistics.variance(values) for values in draws.values())
    noise = {name: float(torch.stack(rows).var(dim=0).sum()) for name, rows in norms.items()}
    first, *_ = noise.values()
    print(
        f"{available_cores()} cores, torch {torch.__version__}; micro after {STEPS} steps, batch {BATCH} x {LENGTH}, "
    )
    print(f"{DRAWS} draws\n\n| estimator | mean, nats | sd | variance, plain / this | head gradient's, plain / this |")
    print("|---|---|---|---|---|")
    for name, values in draws.items():
        variance = statistics.variance(values)
        print(
            f"| {name} | {statistics.fmean(values):.4f} | {variance**0.5:.4f} | {plain / variance:.2f} | "
            f"{first / noise[name]:.2f} |"
        )


def _bernoulli(
    engine: TrainEngine, tokens_BL: torch.Tensor, masked_BL: NDArray[np.bool_], rate_B1: NDArray[np.float64]
) -> torch.Tensor:
    weights = torch.from_numpy((masked_BL / rate_B1).astype(np.float32))
    return weighted_token_nll(engine.model, tokens_BL, torch.from_numpy(masked_BL), weights).mean()


def _stalls(engine: TrainEngine, examples: NDArray[np.uint16]) -> None:
    """Time from before a step's save to after the next step, with the save beside it, in line, and without any."""
    info = CheckpointInfo(
        run="benchmark",
        run_digest="0" * 64,
        arm="dlm",
        family="DLM",
        seed=0,
        step=0,
        tokens=0,
        flops=0.0,
        seconds=0.0,
        model=engine.model.config,
    )
    torch.set_num_threads(get_settings().step_threads)
    writer, step = BackgroundWriter(), STEPS
    times: dict[str, list[float]] = {"no save": [], "saved in the background": [], "saved in line": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(SAVES):
            for name, values in times.items():
                began = time.perf_counter()
                if name != "no save":
                    weights, state = engine.snapshot()
                    place = Path(folder) / "step-00000001"
                    if name == "saved in line":
                        save_checkpoint(place, info, weights, state)
                    else:
                        writer.submit(lambda: save_checkpoint(place, info, weights, state), lambda _: None)  # noqa: B023  # run before the loop goes on
                for _ in range(4):
                    engine.gradients(step, batch_at(0, step, batch_size=BATCH, examples=len(examples)), examples)
                    engine.apply(1e-4)
                    step += 1
                values.append(time.perf_counter() - began)
                writer.wait()
    writer.close()
    base = statistics.median(times["no save"])
    print(f"\n{torch.get_num_threads()} of {available_cores()} cores for the training, as in `crossover run`\n")
    print("| four steps of 0.86M parameters | seconds, median of 7 | over no save |\n|---|---|---|")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.3f} | {100 * (median / base - 1):+.1f} % |")


if __name__ == "__main__":
    sys.exit(main())
