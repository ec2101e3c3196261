"""Decoding with a subword tokenizer: whole characters, the same bits as offline evaluation, and the exported model."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossover.data.task_packs import Pack
from crossover.decoding import Generation
from crossover.decoding.generate_text import generate, stream
from crossover.decoding.generation_request import Hole, Infilling
from crossover.decoding.text_pieces import TextPieces
from crossover.evaluation.continuation_scoring import score_items
from crossover.evaluation.encoded_pair import encode_pair
from crossover.evaluation.evaluate_checkpoint import _likelihoods
from crossover.evaluation.held_out_likelihood import exact_nll
from crossover.evaluation.tasks import FORMATS, Continuation
from crossover.model.transformer import Transformer
from crossover.model_export.export_checkpoint import export_checkpoint
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import BYTES, Tokenizer
from crossover.training.checkpoint import load_checkpoint, save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo
from tests.conftest import tiny_model
from tests.crossover.tokenization.sentencepiece_files import sentencepiece
from tests.crossover.tokenization.test_subword_tokenizer import BPE, prepared, with_tokenizer

PROMPT, CONTINUATION = "the grünen 😀 hi", "lls and the sea"


def checkpoint(folder: Path, *, causal: bool, tokenizer: Tokenizer = BPE) -> Path:
    model = tiny_model(causal=causal, vocab=tokenizer.vocab_size, length=48)
    info = CheckpointInfo(
        run="c/a/seed-0",
        run_digest="sha256:x",
        arm="ar" if causal else "dlm",
        family="AR" if causal else "DLM",
        seed=0,
        step=1,
        tokens=1,
        flops=1.0,
        seconds=1.0,
        model=model.config,
    )
    save_checkpoint(folder, info, model.state_dict(), tokenizer=tokenizer)
    return folder


def loaded(folder: Path, *, causal: bool) -> Transformer:
    return load_checkpoint(checkpoint(folder, causal=causal))[0]


@given(text=st.text(min_size=1), size=st.integers(1, 3))
def test_pieces_of_characters_are_held_back(text: str, size: int) -> None:
    for tokenizer in (BPE, BYTES):
        pieces, taken = TextPieces(tokenizer), ""
        ids = tokenizer.encode(text).tolist()
        for begin in range(0, len(ids), size):
            pieces.add(ids[begin : begin + size])
            taken += pieces.take()[0]
            assert text.startswith(taken), "never part of a character"
        pieces.finish()
        assert taken + pieces.take()[0] == text


@pytest.mark.parametrize("causal", [True, False])
def test_a_stream_is_the_completion_and_stops_within_a_token(causal: bool, tmp_path: Path) -> None:
    model = loaded(tmp_path / "c", causal=causal)
    for seed in range(6):
        request = Generation(prompt=PROMPT, max_tokens=20, temperature=1.0, seed=seed, ignore_eos=True)
        *shown, last = stream(model, request)
        assert "".join(map(str, shown)) == last.text == BPE.decode(last.tokens)  # type: ignore[union-attr]  # the last
        assert not BPE.is_special(np.array(last.tokens)).any()  # type: ignore[union-attr]  # the last
        stop = last.text[len(last.text) // 2 :][:2]  # type: ignore[union-attr]  # the last
        cut = Generation(prompt=PROMPT, max_tokens=20, temperature=1.0, seed=seed, ignore_eos=True, stop=(stop,))
        assert generate(model, [cut])[0].text == last.text[: last.text.index(stop)]  # type: ignore[union-attr]  # the last


def test_the_engine_scores_as_offline_evaluation(tmp_path: Path) -> None:
    model = loaded(tmp_path / "c", causal=True)
    ids = BPE.encode(PROMPT + CONTINUATION)
    request = Generation(prompt=PROMPT + CONTINUATION, max_tokens=1, logprobs=0, prompt_logprobs=True)
    prompt = generate(model, [request])[0].prompt_logprobs
    assert [item.token for item in prompt] == ids.tolist()
    offline = exact_nll(model, ids[None])
    [scored] = next(score_items(model, [[Continuation(PROMPT, CONTINUATION)]], draws=1)).scored
    _, continuation = encode_pair(PROMPT, CONTINUATION, BPE.encode)
    served = -sum(item.logprob for item in prompt[len(ids) - len(continuation) :])  # type: ignore[misc]  # none is None
    assert scored.tokens == len(continuation) < len(CONTINUATION)
    assert scored.nll == pytest.approx(served, rel=1e-4)
    [whole] = next(score_items(model, [[Continuation("", PROMPT + CONTINUATION)]], draws=1)).scored
    assert whole.nll == pytest.approx(offline.nats_per_token * len(ids), rel=1e-5)


def test_holes_are_filled_in_text(tmp_path: Path) -> None:
    model = loaded(tmp_path / "c", causal=False)
    [answer] = generate(model, [Infilling(parts=("the gr", Hole(3), " <|mask|>"), logprobs=0)])
    assert answer.text == f"the gr{answer.holes[0]} <|mask|>", "MASK that the text spells is text"


def test_bits_per_byte_do_not_depend_on_how_tokens_are_counted(tiny_study: StudyConfig, tmp_path: Path) -> None:
    model = loaded(tmp_path / "c", causal=True)
    dataset = prepared(with_tokenizer(tiny_study, "bpe:300"), tmp_path / "data")
    values = {m.metric: m.value for m in _likelihoods(model, dataset, tiny_study.evaluation)}
    rows = dataset.validation()
    text = b"".join(dataset.tokenizer.token_bytes(token) for token in rows.ravel().tolist())
    bits = values["validation_nll"] * rows.size / math.log(2)
    assert values["validation_bpb"] == pytest.approx(bits / len(text))
    assert len(text) > rows.size


@pytest.mark.parametrize("kind", ["byte-level", "byte fallback"])
def test_an_export_reads_the_same_ids_and_has_the_same_logits(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    own = BPE if kind == "byte-level" else sentencepiece(tmp_path / "file")
    folder = checkpoint(tmp_path / "c", causal=True, tokenizer=own)
    export_checkpoint(folder, tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokens(PROMPT, return_tensors="pt").input_ids
    assert ids[0].tolist() == [own.bos, *own.encode(PROMPT).tolist()]
    assert tokens.decode(ids[0], skip_special_tokens=True) == PROMPT
    with torch.inference_mode():
        logits: torch.Tensor = load_checkpoint(folder)[0].forward(ids)
        torch.testing.assert_close(theirs.forward(ids).logits, logits[..., : own.mask], rtol=0, atol=2e-5)


def test_completions_of_tasks_are_as_long_as_the_solution_in_tokens() -> None:
    document = {"context": "the green", "continuation": "hills"}
    pack = Pack(name="words", format="last-word", licence="own", file="a.jsonl", sha256="0" * 64)
    _, request = FORMATS["last-word"].requests(document, pack, BPE)
    assert isinstance(request, Generation)
    _, word = encode_pair("the green", " hills", BPE.encode)
    assert request.max_tokens == len(word) < len(" hills")
