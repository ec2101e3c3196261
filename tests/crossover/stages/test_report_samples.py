"""Samples for the report: on the study's device, from all over the held-out text, longer than the context."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from crossover.data.dataset import Dataset
from crossover.model.transformer import Transformer
from crossover.stages import report_samples
from crossover.stages.stage_manifests import Candidate
from crossover.stages.study_context import StudyContext
from crossover.study.load_study import parse_study
from crossover.tokenization.tokenizer import BYTES
from tests.conftest import tiny_model


@pytest.mark.parametrize(
    ("requested", "available", "used"), [("cpu", True, "cpu"), ("cuda", True, "cuda"), ("cuda", False, "cpu")]
)
def test_samples_are_drawn_on_the_study_s_device(
    monkeypatch: pytest.MonkeyPatch, requested: str, available: bool, used: str
) -> None:
    """The analysis of a CUDA study may run on a machine without a GPU, which draws them on its CPU."""
    loaded: list[str] = []

    def load(_: Path, device: str = "cpu") -> tuple[Transformer, None]:
        loaded.append(device)
        return tiny_model(causal=True, vocab=259, length=16), None

    monkeypatch.setattr(report_samples, "load_checkpoint", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    study = parse_study(f"training: {{device: {requested}}}")
    store = SimpleNamespace(fetch=lambda *_: Path("checkpoint"), name_of=str)
    context = cast(StudyContext, SimpleNamespace(study=study, store=store))
    rows = torch.tensor([[ord("a") + i // 2] * 16 for i in range(6)]).numpy()
    dataset = cast(Dataset, SimpleNamespace(validation=lambda: rows, tokenizer=BYTES))
    best = cast("dict[str, Candidate]", {"ar": SimpleNamespace(checkpoint=SimpleNamespace(uri="u", digest="d"))})
    samples = report_samples.draw_samples(context, dataset, best)
    assert loaded == [used]
    assert [sample.prompt for sample in samples["ar"]] == ["a" * 8, "b" * 8, "c" * 8]


@pytest.mark.parametrize("causal", [True, False])
def test_continuations_are_longer_than_the_context_and_the_same_each_time(causal: bool) -> None:
    model = tiny_model(causal=causal, vocab=259, length=16)
    prompts = ["abcdefgh", "b", "c"]
    texts = report_samples.continue_texts(model, prompts)
    assert max(map(len, texts)) > 16
    assert texts == report_samples.continue_texts(model, prompts)
    assert len(set(texts)) == len(texts)
