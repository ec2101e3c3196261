"""Cost of evaluation, compared with lm-evaluation-harness's hf backend, plain Monte Carlo, and a study's training.

    python -m benchmarks.evaluation_cost TASKS [--rounds 5]

TASKS is a folder of packs (hellaswag, arc-easy, mmlu). Scores the same items with the same weights by Crossover and by
the harness's hf backend (AR); compares the forward passes that Crossover and the plain 128-draw estimators (Bernoulli
or exact counts, options scored separately) need for the same error of an option's margin (DLM); trains and evaluates a
run of each arm of the preset `demo`. Prints Markdown tables.

Needs `pip install 'crossover[eval]' transformers accelerate`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.objective_noise import BATCH, STEPS, small_engine, standard_library
from crossover.data.prepare_dataset import prepare_cloze, prepare_dataset
from crossover.data.split_corpus import read_corpus
from crossover.data.task_packs import evenly, find_pack, read_pack
from crossover.evaluation.continuation_scoring import score_items
from crossover.evaluation.encoded_pair import encode_pair
from crossover.evaluation.evaluate_checkpoint import evaluate_checkpoint
from crossover.evaluation.scored_forward import masked_losses
from crossover.evaluation.tasks import FORMATS, Continuation
from crossover.model.model_presets import preset
from crossover.model.transformer import Transformer
from crossover.settings import available_cores
from crossover.stages.evaluation_parts import evaluation_inputs, planned_parts
from crossover.study.arms import Family
from crossover.study.load_study import load_study
from crossover.study.study_parts import DOMAIN_CLOZE
from crossover.tokenization.tokenizer import MASK
from crossover.training.batch_order import batch_at
from crossover.training.checkpoint import save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo, step_folder
from crossover.training.recorder import NoRecorder
from crossover.training.run_spec import RunSpec
from crossover.training.token_masking import mask_exactly
from crossover.training.trainer import Trainer

MODELS, TASKS = ("micro", "14m"), ("hellaswag", "arc-easy", "mmlu-cloze", "mmlu")
HF_BATCHES, OURS = (1, 8, 32), 0
LENGTH, AR_ITEMS, DLM_ITEMS, REPEATS = 2048, 32, 12, 24
PLAIN_DRAWS = 128


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(available_cores())
    print("| model, task | option tokens | lm-eval hf, tokens/s (best batch) | crossover, tokens/s | x |")
    print("|---|---|---|---|---|")
    for model in MODELS:
        for task in TASKS:
            _against_hf(model, task, _items(options.tasks, task, AR_ITEMS), options.rounds)
    short = [i for i in _items(options.tasks, "hellaswag", 8 * DLM_ITEMS) if max(len(o.continuation) for o in i) <= 128]
    _against_plain(short[:DLM_ITEMS])
    _share_of_a_study()
    return 0


def _items(folder: Path, task: str, count: int) -> list[list[Continuation]]:
    pack = find_pack(task, folder)
    documents = evenly(read_pack(pack, folder), count)
    items = [FORMATS[pack.format].requests(document, pack) for document in documents]
    return [[request for request in item if isinstance(request, Continuation)] for item in items]


def _model(name: str, *, causal: bool) -> Transformer:
    model = Transformer(preset(name, vocab_size=259, max_length=LENGTH), causal=causal, mask_id=MASK)
    model.initialise(torch.Generator().manual_seed(0))
    return model.eval()


def _against_hf(name: str, task: str, items: list[list[Continuation]], rounds: int) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = _model(name, causal=True)
    family: Family = "AR"
    info = CheckpointInfo(
        run="", run_digest="", arm="ar", family=family, seed=0, step=0, tokens=0, flops=0, seconds=0, model=model.config
    )
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "checkpoint"
        save_checkpoint(folder, info, dict(model.named_parameters()))
        backends = {
            batch: HFLM(pretrained=str(folder), add_bos_token=True, device="cpu", dtype="float32", batch_size=batch)
            for batch in HF_BATCHES
        }
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=tuple(continuation), idx=idx, doc_id=doc_id)
        for doc_id, item in enumerate(items)
        for idx, continuation in enumerate(item)
    ]
    methods: dict[int, Callable[[], object]] = {
        batch: partial(backend.loglikelihood, requests, disable_tqdm=True) for batch, backend in backends.items()
    }
    methods[OURS] = lambda: list(score_items(model, items, draws=1))
    tokens = sum(len(encode_pair(*continuation)[1]) for item in items for continuation in item)
    seconds: dict[int, list[float]] = {method: [] for method in methods}
    for _ in range(rounds):
        for method, score in methods.items():
            began = time.perf_counter()
            score()
            seconds[method].append(time.perf_counter() - began)
    medians = {method: statistics.median(times) for method, times in seconds.items()}
    ours = medians.pop(OURS)
    best = min(medians, key=lambda batch: medians[batch])
    print(
        f"| {name}, {task} | {tokens:,} | {tokens / medians[best]:,.0f} ({best}) | {tokens / ours:,.0f} "
        f"| {medians[best] / ours:.2f} |",
        flush=True,
    )


def _plain_margin(
    model: Transformer, item: list[Continuation], rng: np.random.Generator, *, exact: bool
) -> NDArray[np.float64]:
    """Draws of the margin of option 0 over the others' mean, each option under masks of its own. Shape (draws,)."""
    values = []
    for continuation in item:
        context, option = encode_pair(*continuation)
        noise = rng.random((PLAIN_DRAWS, len(option)))
        if exact:
            counts = rng.integers(1, len(option) + 1, PLAIN_DRAWS)
            masked, weight = mask_exactly(counts, noise), len(option) / counts
        else:
            rate = 1.0 - rng.random(PLAIN_DRAWS)
            masked, weight = noise < rate[:, None], 1 / rate
        context = context[max(0, len(context) + len(option) - model.config.max_length) :]
        text = np.concatenate((context, option))
        rows = np.broadcast_to(text, (PLAIN_DRAWS, len(text)))
        padded = np.pad(masked, ((0, 0), (len(context), 0)))
        nll = masked_losses(model, rows, padded)
        values.append(nll.sum(axis=1) * weight)
    return np.asarray(values[0] - np.mean(values[1:], axis=0))


def _against_plain(items: list[list[Continuation]]) -> None:
    """Forwards and seconds that each needs for the standard error of a margin that the plain procedure has."""
    model = _trained()
    rng, variances, seconds = np.random.default_rng(0), {}, 0.0
    for exact in (False, True):
        began = time.perf_counter()
        variance_of_item = [_plain_margin(model, item, rng, exact=exact).var(ddof=1) / PLAIN_DRAWS for item in items]
        variances[exact], seconds = float(np.mean(variance_of_item)), time.perf_counter() - began
    each, (bernoulli, counted) = seconds / len(items), variances.values()
    print(f"\nDLM, micro after {STEPS} steps, {len(items)} items of HellaSwag: margin of an option over the others\n")
    print(
        "| scoring | draws | sd, nats | seconds an item | forwards at equal error, plain / this | exact count / this |"
    )
    print("|---|---|---|---|---|---|")
    for title, variance in (("plain Bernoulli", bernoulli), ("plain exact counts", counted)):
        ratios = f"{bernoulli / variance:.1f} | {counted / variance:.1f}"
        print(f"| {title}, options apart | {PLAIN_DRAWS} | {variance**0.5:.3f} | {each:.2f} | {ratios} |")
    for draws in (8, 16, 32):
        began = time.perf_counter()
        margins = np.array([_our_margins(model, item, draws) for item in items])
        each = (time.perf_counter() - began) / REPEATS / len(items)
        variance = float(margins.var(axis=1, ddof=1).mean())
        ratios = " | ".join(f"{PLAIN_DRAWS / draws * plain / variance:.1f}" for plain in (bernoulli, counted))
        print(f"| crossover | {draws} | {variance**0.5:.3f} | {each:.2f} | {ratios} |", flush=True)


def _our_margins(model: Transformer, item: list[Continuation], draws: int) -> list[float]:
    """The same item under other masks each time."""
    margins = []
    for result in score_items(model, [item] * REPEATS, draws=draws):
        nll = [scored.nll for scored in result.scored]
        margins.append(nll[0] - float(np.mean(nll[1:])))
    return margins


def _trained() -> Transformer:
    """A diffusion model trained for some steps on the standard library."""
    engine, examples = small_engine(), standard_library()
    for step in range(STEPS):
        engine.gradients(step, batch_at(0, step, batch_size=BATCH, examples=len(examples)), examples)
        engine.apply(3e-3)
    return engine.model.eval()


def _share_of_a_study() -> None:
    """Seconds of training and of evaluation, for one run of each arm."""
    study = load_study("demo")
    print("\nPreset demo, one run, all its checkpoints\n")
    print("| arm | training, s | measuring, s | share of both |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with read_corpus(study.data, root) as corpus:
            dataset = prepare_dataset(study, corpus, root / "dataset")
            tasks = {DOMAIN_CLOZE: prepare_cloze(study, dataset, corpus, root / "cloze")}
        inputs = evaluation_inputs(study, dataset, tasks, study.cells[0])
        for arm in study.arms:
            spec = RunSpec(study=study, cell=study.cells[0], arm=arm, seed=0)
            began = time.perf_counter()
            Trainer(spec, dataset.train(study.cells[0].unique_tokens), root / arm, NoRecorder()).run()
            trained = time.perf_counter()
            for step, parts in planned_parts(study, inputs, spec.id, spec.digest).items():
                folder = step_folder(root / arm / "checkpoints", step)
                evaluate_checkpoint(folder, "", parts, dataset, tasks, study.evaluation, cell=spec.cell)
            done = time.perf_counter()
            training, measuring = trained - began, done - trained
            print(f"| {arm} | {training:.1f} | {measuring:.1f} | {measuring / (done - began):.1%} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
