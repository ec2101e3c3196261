"""Variance of the estimators of a diffusion model's likelihood at equal forward passes.

    python -m benchmarks.likelihood_variance

Trains a small diffusion model on the interpreter's own standard library, then estimates the bound on held-out examples
many times under each estimator with the same number of forward passes, and reads a few examples token by token in
three orders. Prints Markdown tables.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.objective_noise import BATCH, LENGTH, STEPS, small_engine, standard_library
from crossover.evaluation.held_out_likelihood import CHAIN_ORDERS, chain_rule_nll, frozen_masks, nelbo
from crossover.evaluation.nelbo_estimator import bound_of_draws, squared_stderr
from crossover.evaluation.scored_forward import masked_losses
from crossover.model.transformer import Transformer
from crossover.settings import available_cores
from crossover.training.batch_order import batch_at
from crossover.training.token_masking import mask_exactly, stratified_counts

EXAMPLES, DRAWS, REPEATS = 6, (8, 32, 128), 24
READ = 4

Rng = np.random.Generator
Floats = NDArray[np.float64]
Losses = Callable[[NDArray[np.bool_]], Floats]


def main() -> int:
    """Train, estimate, print."""
    torch.set_num_threads(available_cores())
    engine, examples = small_engine(), standard_library()
    for step in range(STEPS):
        engine.gradients(step, batch_at(0, step, batch_size=BATCH, examples=800), examples[:800])
        engine.apply(3e-3)
    model = engine.model.eval()
    _variances(model, examples[800 : 800 + EXAMPLES])
    _orders(model, examples[900 : 900 + READ])
    return 0


def _bernoulli(losses: Losses, draws: int, rng: Rng) -> tuple[float, float]:
    rate_K = 1.0 - rng.random(draws)
    masked = rng.random((draws, LENGTH)) < rate_K[:, None]
    value_K = losses(masked).sum(axis=1) / rate_K / LENGTH
    return float(value_K.mean()), float(value_K.var(ddof=1) / draws)


def _counts(losses: Losses, draws: int, rng: Rng, *, strata: bool, control: bool, mirrored: bool = False) -> Floats:
    """Mean and squared standard error of exact-count draws."""
    half = draws // 2 if mirrored else draws
    counts = stratified_counts(half, LENGTH, rng.random()) if strata else rng.integers(1, LENGTH + 1, half)
    noise = rng.random((half, LENGTH))
    masked = mask_exactly(counts, noise)
    if mirrored:
        masked = np.concatenate((masked, mask_exactly(LENGTH + 1 - counts, 1 - noise)))
    nll, counts = losses(masked), masked.sum(axis=1)
    value_K = bound_of_draws(nll, masked) if control else nll.sum(axis=1) / counts
    squared = squared_stderr(value_K[None], counts[None])[0] if strata else value_K.var(ddof=1) / draws
    return np.array([value_K.mean(), squared])


def _variances(model: Transformer, tokens_NL: NDArray[np.uint16]) -> None:
    estimators: dict[str, Callable[[Losses, int, Rng], object]] = {
        "Bernoulli, t uniform (plain Monte Carlo)": _bernoulli,
        "exact count, k uniform": lambda *a: _counts(*a, strata=False, control=False),
        "exact count, k stratified": lambda *a: _counts(*a, strata=True, control=False),
        "the same, mirrored pairs (antithetic)": lambda *a: _counts(*a, strata=True, control=False, mirrored=True),
        "exact count, k stratified, control variate (Crossover)": lambda *a: _counts(*a, strata=True, control=True),
    }
    print(f"micro after {STEPS} steps, {EXAMPLES} held-out examples of {LENGTH} bytes, {REPEATS} repeats each\n")
    print("| estimator | forwards an example | mean, nats | sd | variance, plain / this | stated / true variance |")
    print("|---|---|---|---|---|---|")
    for draws in DRAWS:
        plain = 0.0
        for name, estimator in estimators.items():
            values = np.array([_repeat(model, row, estimator, draws) for row in tokens_NL])  # (examples, repeats, 2)
            variance = float(values[:, :, 0].var(axis=1, ddof=1).mean())
            plain = plain or variance
            reported = float(values[:, :, 1].mean()) / variance
            print(
                f"| {name} | {draws} | {values[:, :, 0].mean():.4f} | {variance**0.5:.4f} "
                f"| {plain / variance:.1f} | {reported:.2f} |",
                flush=True,
            )


def _repeat(model: Transformer, row: NDArray[np.uint16], estimator: Callable[..., object], draws: int) -> list[object]:
    rng = np.random.default_rng(int(row.sum()))
    tokens = np.broadcast_to(row, (draws, LENGTH))
    return [estimator(lambda masked: masked_losses(model, tokens, masked), draws, rng) for _ in range(REPEATS)]


def _orders(model: Transformer, tokens_NL: NDArray[np.uint16]) -> None:
    print(f"\n{READ} held-out examples, nats a byte\n")
    print("| estimator | value | Monte Carlo error | seconds |")
    print("|---|---|---|---|")
    began = time.perf_counter()
    bound = nelbo(model, tokens_NL, frozen_masks(READ, LENGTH, 128))
    print(f"| bound, 128 draws | {bound.nats_per_token:.4f} | {bound.stderr:.4f} | {time.perf_counter() - began:.1f} |")
    for order in CHAIN_ORDERS:
        began = time.perf_counter()
        value = chain_rule_nll(model, tokens_NL, order)
        print(
            f"| chain rule, {order} | {value.nats_per_token:.4f} | 0 | {time.perf_counter() - began:.1f} |", flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
