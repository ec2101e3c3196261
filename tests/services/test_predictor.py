"""The predictor over real HTTP, with the official OpenAI client and KServe's protocols."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from crossover.cli import main
from crossover.commands.serve_command import serving
from crossover.commands.serve_samples import show_samples
from crossover.model.transformer import Transformer
from tests.conftest import tiny_model
from tests.services.conftest import write_checkpoint


def test_try_shows_a_completion_and_an_infilled_hole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(write_checkpoint(tmp_path / "c", causal=False)), "--try"]) == 0
    output = capsys.readouterr().out
    assert "completion (masked diffusion, temperature 0.8): sample " in output
    assert "infill (masked diffusion, temperature 0): 2 forward passes; the held-out text has 'lf'" in output
    assert "writes no sensible text yet" in output


def blank_model() -> Transformer:
    """A diffusion model that predicts a space everywhere: its hidden states are all ones."""
    model = tiny_model(causal=False, vocab=259, length=32)
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(1.0)
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                parameter.zero_()
        model.lm_head.weight[ord(" ")] = 10.0
    return model


def test_samples_are_never_shown_blank(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    infills = show_samples(url)
    shown = re.findall(r"⟦(.*?)⟧", capsys.readouterr().out, re.DOTALL)
    assert len(shown) == (5 if infills else 1), "a DLM also fills a hole, and writes in 1, 4 and 8 passes"
    assert all(text.strip() and all(c.isprintable() or c == "\n" for c in text) for text in shown)


def test_blank_samples_are_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(write_checkpoint(tmp_path / "c", model=blank_model())) as url:
        show_samples(url)
    assert re.findall(r"⟦(.*?)⟧", capsys.readouterr().out) == [
        repr(" " * 16),
        "'  '",
        *[repr(" " * 8)] * 3,
    ]
