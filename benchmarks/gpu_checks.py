"""What `benchmarks.gpu` checks before it measures: a GPU trains, resumes, evaluates and decodes as the CPU does.

Each check prints a Markdown table as it goes and returns what is out of tolerance, one line each; none is good.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch._dynamo.utils import counters

from crossover.decoding import Generation
from crossover.decoding.generate_text import generate
from crossover.evaluation.held_out_likelihood import chain_rule_nll, exact_nll, frozen_masks, nelbo
from crossover.model.model_presets import preset
from crossover.model.transformer import Transformer
from crossover.study.arms import ARMS, Arm, Recipe, resolve_arm
from crossover.study.load_study import parse_study
from crossover.study.study_parts import TrainingConfig
from crossover.tokenization.tokenizer import MASK, VOCAB_SIZE
from crossover.training.batch_order import batch_at
from crossover.training.distributed import World
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_spec import RunSpec, pair_generator
from crossover.training.train_engine import TrainEngine
from crossover.training.trainer import Trainer

TOLERANCE = {"fp32": (2e-5, 2e-4), "bf16": (5e-3, 5e-2)}
"""Largest relative difference from the CPU in fp32: of a step's loss, and of its gradient norm before clipping."""
NLL_TOLERANCE = 1e-4
"""The same, of a likelihood that is evaluated in fp32."""
RESUME_TOLERANCE = 1e-2
"""Largest relative difference of a loss between a run that was killed and resumed and one that was not."""
COMPARED_STEPS, COUNTED_STEPS, WARM_STEPS = 3, 20, 3
KILLED_AT = 100


class Case(NamedTuple):
    """A model and an arm whose steps are compared."""

    model: str
    arm: Arm
    vocab_size: int = VOCAB_SIZE

    @property
    def name(self) -> str:
        """Model, arm, and the vocabulary if it is not that of bytes."""
        return f"{self.model} {self.arm.name}" + (", chunked loss" if self.vocab_size > VOCAB_SIZE else "")


EXPERT_CHOICE = resolve_arm("expert-choice", Recipe(base="dlm", expert_choice=True))
CASES = (
    *(Case("mini", ARMS[name]) for name in ("ar", "dlm", "ar-dropout", "ar-masked-input", "bd", "dlm-fixed-order")),
    Case("mini", ARMS["ar"], 2**15),
    Case("mini", ARMS["dlm"], 2**15),
    *(Case("mini-moe", arm) for arm in (ARMS["ar"], ARMS["dlm"], EXPERT_CHOICE)),
)
REHEARSED = (Case("pico", ARMS["ar"]), Case("pico", ARMS["bd"]))


class Steps(NamedTuple):
    """Losses and gradient norms of some steps, and how many graphs were compiled: after warm-up, and in all."""

    losses: list[float]
    norms: list[float]
    graphs_warm: int
    graphs: int


def train_steps(case: Case, device: str, precision: str, *, compiled: bool, steps: int) -> Steps:
    """Train some steps from the same weights on the same examples."""
    length, batch_size = (256, 8) if device == "cuda" or case not in REHEARSED else (32, 4)
    torch._dynamo.reset()
    counters.clear()
    fields = {"batch_size": batch_size, "microbatch_size": None, "device": device}
    config = TrainingConfig.model_validate(fields | {"precision": precision, "compile": compiled})
    shape = preset(case.model, vocab_size=case.vocab_size, max_length=length)
    engine = TrainEngine(config, shape, case.arm, seed=0, length=length, world=World())
    engine.set_weights(engine.model.draws(pair_generator(0)))
    examples = np.random.default_rng(0).integers(0, 256, (64, length), dtype=np.uint16)
    losses, norms, warm = [], [], 0
    for step in range(steps):
        result = engine.gradients(step, batch_at(0, step, batch_size=batch_size, examples=64), examples)
        engine.apply(1e-3)
        losses.append(result.nll)
        norms.append(result.gradient_norm)
        if step == WARM_STEPS - 1:
            warm = counters["stats"]["unique_graphs"]
    return Steps(losses, norms, warm, counters["stats"]["unique_graphs"])


def check_losses(device: str) -> list[str]:
    """Steps of every kind of arm on the device against the CPU's in fp32, and compilations over twenty steps."""
    faults: list[str] = []
    print("| step of | fp32: loss, norm | bf16: loss, norm | bf16 compiled: loss, norm | graphs | after warm-up | s |")
    print("|---|---|---|---|---|---|---|")
    for case in REHEARSED if device == "cpu" else CASES:
        began = time.perf_counter()
        try:
            columns, found = _compared(case, device)
        except Exception as error:
            columns, found = [f"{type(error).__name__}"], [f"{case.name}: {type(error).__name__}: {str(error)[:1500]}"]
        faults += found
        print(f"| {case.name} | {' | '.join(columns)} | {time.perf_counter() - began:.0f} |", flush=True)
    return faults


def _compared(case: Case, device: str) -> tuple[list[str], list[str]]:
    reference = train_steps(case, "cpu", "fp32", compiled=False, steps=COMPARED_STEPS)
    columns, faults = [], []
    for precision, compiled in (("fp32", False), ("bf16", False), ("bf16", True)):
        steps = COUNTED_STEPS if compiled else COMPARED_STEPS
        got = train_steps(case, device, precision, compiled=compiled, steps=steps)
        loss, norm = _difference(reference.losses, got.losses), _difference(reference.norms, got.norms)
        columns.append(f"{loss:.1e}, {norm:.1e}")
        if not (loss <= TOLERANCE[precision][0] and norm <= TOLERANCE[precision][1]):
            faults.append(f"{case.name}, {precision}{', compiled' if compiled else ''}: {columns[-1]} from the CPU's")
    if got.graphs != got.graphs_warm or not got.graphs:
        faults.append(f"{case.name}: {got.graphs} graphs compiled, {got.graphs_warm} of them in warm-up")
    return [*columns, str(got.graphs), str(got.graphs - got.graphs_warm)], faults


def _difference(wanted: Iterable[float], got: Iterable[float]) -> float:
    """Largest relative difference of numbers that both have; NaN if any is NaN."""
    pairs = np.array(list(zip(wanted, got, strict=False)))
    return float((np.abs(pairs[:, 1] - pairs[:, 0]) / np.abs(pairs[:, 0])).max())


class _Losses(NoRecorder):
    def __init__(self) -> None:
        self.by_step: dict[int, float] = {}

    def point(self, at: Progress, metric: str, value: float) -> None:
        if metric == "training_loss":
            self.by_step[at.step] = value


def train_run(folder: Path, device: str, arm: str, killed_at: int = 0) -> dict[int, float]:
    """Train a small run, from wherever an earlier attempt got; and kill this process at a step, if one is given."""
    study = parse_study(f"""
name: gpu-check
data: {{sequence_length: 64}}
grid: {{unique_tokens: [8192], models: [nano]}}
seeds: 2
training: {{epochs: 8, batch_size: 8, device: {device}, precision: bf16}}
evaluation: {{points: 4}}
""")
    spec = RunSpec(study=study, cell=study.cells[0], arm=arm, seed=0)
    examples = np.random.default_rng(0).integers(0, 256, (128, 64), dtype=np.uint16)
    losses = _Losses()

    def on_step(step: int, total: int, loss: float) -> None:
        if step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    Trainer(spec, examples, folder, losses, on_step).run()
    return losses.by_step


def check_resume(device: str) -> list[str]:
    """A run that is killed and resumed against one that is not, and that one against its own repetition."""
    faults = []
    print("| run | repeated: largest difference of a loss | killed and resumed | resumed from step |")
    print("|---|---|---|---|")
    for arm in ("ar", "dlm"):
        with tempfile.TemporaryDirectory() as place:
            whole, again = (train_run(Path(place, name), device, arm) for name in ("whole", "again"))
            child = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu_checks", place + "/cut", device, arm]
            killed = subprocess.run(child, check=False, capture_output=True, text=True)
            if killed.returncode != -signal.SIGKILL:
                raise RuntimeError(f"the run was to be killed and was not: {killed.returncode}\n{killed.stderr}")
            rest = train_run(Path(place, "cut"), device, arm)
        repeated = max(abs(again[step] / whole[step] - 1) for step in whole)
        resumed = max(abs(rest[step] / whole[step] - 1) for step in rest)
        print(f"| nano {arm}, bf16 | {repeated:.1e} | {resumed:.1e} | {min(rest) - 1} |", flush=True)
        if not (resumed <= RESUME_TOLERANCE and 1 < min(rest) <= KILLED_AT):
            faults.append(f"{arm}: a resumed run is {resumed:.1e} from one that was not killed")
    return faults


def _models(causal: bool, block_length: int, expert_choice: bool, device: str) -> tuple[Transformer, Transformer]:
    size, length = ("mini", 128) if device == "cuda" else ("pico", 32)
    shape = preset("mini-moe" if expert_choice else size, vocab_size=VOCAB_SIZE, max_length=length)
    models = []
    for kind in ("cpu", device):
        model = Transformer(
            shape.model_copy(update={"init_std": 0.1}),
            causal=causal,
            mask_id=MASK,
            block_length=block_length,
            expert_choice=expert_choice,
        )
        model.initialise(pair_generator(0))
        models.append(model.eval().to(kind))
    return models[0], models[1]


def check_evaluation(device: str) -> list[str]:
    """Likelihoods and greedy completions on the device against the CPU's."""
    faults: list[str] = []
    print("| model | NLL or NELBO: difference | chain rule | completions equal | CPU, s | device, s |")
    print("|---|---|---|---|---|---|")
    kinds = {"ar": (True, 0, False), "dlm": (False, 0, False), "bd": (False, 16, False), "MoE": (False, 0, True)}
    for name, kind in kinds.items():
        models = _models(*kind, device)
        length = models[0].config.max_length
        tokens = np.random.default_rng(1).integers(0, 256, (16, length), dtype=np.uint16)
        found, seconds = [], []
        for model in models:
            began = time.perf_counter()
            found.append(_evaluated(model, tokens))
            seconds.append(time.perf_counter() - began)
        pairs = [_difference(a, b) for a, b in zip(found[0][:2], found[1][:2], strict=True)]
        same = sum(a == b for a, b in zip(found[0][2], found[1][2], strict=True))
        print(
            f"| {name} | {pairs[0]:.1e} | {pairs[1]:.1e} | {same} of {len(found[0][2])} | "
            f"{seconds[0]:.1f} | {seconds[1]:.1f} |",
            flush=True,
        )
        faults += [f"{name}: {pair:.1e} from the CPU's likelihood" for pair in pairs if not pair <= NLL_TOLERANCE]
        if same < len(found[0][2]):
            faults.append(f"{name}: {same} of {len(found[0][2])} greedy completions are the CPU's")
    return faults


def _evaluated(
    model: Transformer, tokens_NL: np.ndarray
) -> tuple[Sequence[float], Sequence[float], Sequence[Sequence[int]]]:
    if model.causal:
        whole = chain = exact_nll(model, tokens_NL).per_example
    else:
        whole = nelbo(
            model, tokens_NL, frozen_masks(len(tokens_NL), tokens_NL.shape[1], 4, model.block_length)
        ).per_example
        chain = chain_rule_nll(model, tokens_NL[:2], "confidence").per_example
    requests = [Generation(prompt="abc" * n, max_tokens=16) for n in range(1, 5)]
    return list(whole), list(chain), [completion.tokens for completion in generate(model, requests)]


def cleared(check: Callable[[str], list[str]], device: str) -> list[str]:
    """Run a check, then give its memory back to the device."""
    try:
        return check(device)
    finally:
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    print(json.dumps(train_run(Path(sys.argv[1]), sys.argv[2], sys.argv[3], KILLED_AT)))
