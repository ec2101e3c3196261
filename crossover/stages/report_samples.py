"""Continuations of held-out text by each arm's best model, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from crossover.data.dataset import Dataset
from crossover.decoding import Generation
from crossover.decoding.generate_text import ROWS, generate
from crossover.decoding.inference_model import InferenceModel
from crossover.model.transformer import Transformer
from crossover.report.report_data import Sample
from crossover.stages.stage_manifests import Candidate
from crossover.stages.study_context import StudyContext
from crossover.training.checkpoint import load_checkpoint

SAMPLES = 3
TOKENS = 240
"""Length of a continuation: enough to judge words and sentences by."""


def draw_samples(
    context: StudyContext, dataset: Dataset, best: Mapping[str, Candidate]
) -> dict[str, tuple[Sample, ...]]:
    """Continue held-out examples from all over the corpus, at temperature 0.8 with fixed seeds.

    Args:
        context: the study.
        dataset: whose held-out examples give the prompts, the same for each arm.
        best: arm to its best checkpoint.

    Returns:
        For each arm `SAMPLES` continuations of up to `TOKENS` tokens; fewer where the model ends a text.
    """
    rows = dataset.validation()
    prompts = [dataset.tokenizer.decode(rows[i * len(rows) // SAMPLES][: _half(rows.shape[1])]) for i in range(SAMPLES)]
    samples, name_of = {}, context.store.name_of
    # the analysis of a CUDA study may run where there is no GPU
    device = context.study.training.device if torch.cuda.is_available() else "cpu"
    for arm, candidate in best.items():
        folder = context.store.fetch(name_of(candidate.checkpoint.uri), candidate.checkpoint.digest)
        model, _ = load_checkpoint(folder, device=device)
        completions = continue_texts(model, prompts)
        samples[arm] = tuple(Sample(prompt=p, completion=c) for p, c in zip(prompts, completions, strict=True))
    return samples


def continue_texts(model: Transformer, prompts: Sequence[str]) -> list[str]:
    """Continue texts beyond the model's context, each piece after the end of the text so far, until a text ends."""
    texts, left = [""] * len(prompts), dict.fromkeys(range(len(prompts)), TOKENS)
    encode, prepared = model.tokenizer.encode, InferenceModel(model, rows=ROWS)
    while left:
        requests = [
            Generation(
                prompt=tuple(encode(prompts[i] + texts[i])[-_half(model.config.max_length) :].tolist()),
                max_tokens=min(rest, _half(model.config.max_length)),
                temperature=0.8,
                seed=i + len(prompts) * (TOKENS - rest),
            )
            for i, rest in left.items()
        ]
        for i, request, answer in zip(list(left), requests, generate(prepared, requests), strict=True):
            texts[i] += answer.text
            left[i] -= request.max_tokens
            if answer.finish_reason == "stop" or not left[i]:
                del left[i]
    return texts


def _half(length: int) -> int:
    """Half of a context is prompt, the other half is written."""
    return max(1, length // 2)
