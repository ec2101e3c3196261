"""Samples for the report are drawn on the study's device."""

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
    rows = torch.full((3, 16), ord("a")).numpy()
    dataset = cast(Dataset, SimpleNamespace(validation=lambda: rows))
    best = cast("dict[str, Candidate]", {"ar": SimpleNamespace(checkpoint=SimpleNamespace(uri="u", digest="d"))})
    samples = report_samples.draw_samples(context, dataset, best)
    assert loaded == [used]
    assert [sample.prompt for sample in samples["ar"]] == ["a" * 12] * 3
