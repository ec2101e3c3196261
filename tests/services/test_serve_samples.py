"""`crossover serve --try`: samples beside held-out text, from real servers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from crossover.cli import main
from crossover.commands.serve_command import serving
from crossover.commands.serve_samples import Passage, show_samples
from crossover.errors import CrossoverError
from crossover.model.transformer import Transformer
from tests.conftest import tiny_model
from tests.services.conftest import write_checkpoint


def test_try_shows_a_completion_and_an_infilled_hole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(write_checkpoint(tmp_path / "c", causal=False)), "--try"]) == 0
    output = capsys.readouterr().out
    assert "completion (masked diffusion, temperature 0.8, seed " in output
    assert "infill (temperature 0); the fixed snippet (no study is at hand) has 'lf, name'" in output
    assert "held-out" not in output, "a folder of a checkpoint names no study"
    passes = re.findall(r"^ +(\d+\.\d) passes, +\d+ ms: +\d+%(.*)", output, re.MULTILINE)
    assert [float(count) for count, _ in passes[:3]] == [1, 4, 8], "as many as asked for, and one a token"
    assert passes[3][1] == " confidence_threshold 0.9, cache dual"
    assert "writes no sensible text yet" in output


def test_samples_are_never_shown_blank(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    passages = [Passage("a prompt of much more than thirty-two bytes: ", "böse\n"), Passage("", "x")]
    infills = show_samples(url, passages)
    output = capsys.readouterr().out
    assert "the held-out text has 'b" in output
    shown = re.findall(r"⟦(.*?)⟧", output, re.DOTALL)
    assert len(shown) == (4 if infills else 2)
    assert all(text.strip() and all(c.isprintable() or c == "\n" for c in text) for text in shown)


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


def test_blank_samples_are_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(write_checkpoint(tmp_path / "c", model=blank_model())) as url:
        show_samples(url)
        with pytest.raises(CrossoverError, match="HTTP 400"):
            show_samples(url, [Passage("x", "")])
    output = capsys.readouterr().out
    assert re.findall(r"⟦(.*?)⟧", output)[:2] == [repr(" " * 16), repr(" " * 8)]
    assert re.findall(r"ms: +(\d+)%", output) == ["12"] * 4, "of 'lf, name' one character is a space"
