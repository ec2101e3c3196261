"""An AR checkpoint is a Hugging Face Qwen3: it loads in `transformers` without custom code and says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crossover.tokenization.tokenizer import BOS, BYTES, MASK
from crossover.training.checkpoint import load_checkpoint
from tests.services.conftest import write_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_logits_are_the_same(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = write_checkpoint(tmp_path / "c", causal=True)
    ours, _ = load_checkpoint(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    tokens = torch.tensor([[BOS, *b"def f(x):"]])
    with torch.inference_mode():
        mine, other = ours(tokens), theirs(tokens).logits
    torch.testing.assert_close(mine[..., :MASK], other[..., :MASK], rtol=1e-4, atol=1e-4)


def test_tokens_are_the_same(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = write_checkpoint(tmp_path / "c", causal=True)
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in ("def f(x):\n\treturn 'é'", "  two  spaces ", "日本語 🙂", "", "\x00\x7f"):
        expected = BYTES.encode(text).tolist()
        assert theirs.encode(text) == [BOS, *expected]
        assert theirs.decode(expected) == text
