"""Short continuations of held-out text by each arm's best model, for the report."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from crossover.data import tokenizer
from crossover.data.dataset import Dataset
from crossover.decoding import Generation
from crossover.decoding.generate_text import generate
from crossover.report.report_data import Sample
from crossover.stages.stage_manifests import Candidate
from crossover.stages.study_context import StudyContext
from crossover.training.checkpoint import load_checkpoint

SAMPLES = 3


def draw_samples(
    context: StudyContext, dataset: Dataset, best: Mapping[str, Candidate]
) -> dict[str, tuple[Sample, ...]]:
    """Continue the first three quarters of a few held-out examples, at temperature 0.8 with fixed seeds."""
    rows = dataset.validation()[:SAMPLES]
    cut = rows.shape[1] * 3 // 4
    prompts = [tokenizer.decode(row[:cut]) for row in rows]
    samples, name_of = {}, context.store.name_of
    # the analysis of a CUDA study may run where there is no GPU
    device = context.study.training.device if torch.cuda.is_available() else "cpu"
    for arm, candidate in best.items():
        folder = context.store.fetch(name_of(candidate.checkpoint.uri), candidate.checkpoint.digest)
        model, _ = load_checkpoint(folder, device=device)
        requests = [
            Generation(prompt=prompt, max_tokens=rows.shape[1] - cut, temperature=0.8, seed=seed)
            for seed, prompt in enumerate(prompts)
        ]
        answers = generate(model, requests)
        samples[arm] = tuple(
            Sample(prompt=prompt, completion=answer.text) for prompt, answer in zip(prompts, answers, strict=True)
        )
    return samples
