"""Decoding: nothing masked is left, fixed tokens stay, a batch answers as its members would alone, streams add up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.decoding import Completion, Generation
from crossover.decoding.generate_text import generate, stream
from crossover.decoding.inference_model import InferenceModel
from crossover.decoding.key_value_cache import PrefixCache
from crossover.decoding.masked_canvas import truncate_both
from crossover.decoding.masked_sequence import MaskedSequence
from crossover.decoding.stepping import start, step
from crossover.errors import RequestError
from crossover.model.transformer import Transformer
from crossover.tokenization.tokenizer import BOS, EOS, MASK
from tests.conftest import tiny_model

AR, DLM = (tiny_model(causal=causal, vocab=259, length=24) for causal in (True, False))
PREPARED = InferenceModel(DLM)
BOTH = pytest.mark.parametrize("model", [AR, DLM], ids=["ar", "dlm"])


@settings(max_examples=40, deadline=None)
@given(
    prompt=st.text(max_size=30),
    suffix=st.text(max_size=30),
    hole=st.integers(1, 24),
    fields=st.fixed_dictionaries(
        {
            "steps": st.integers(0, 30),
            "block_length": st.integers(0, 30),
            "temperature": st.sampled_from([0.0, 1.0]),
            "order": st.sampled_from(["confidence", "margin", "entropy", "random", "left-to-right"]),
            "confidence_threshold": st.sampled_from([0.0, 0.003, 1.0]),
            "remask": st.sampled_from([0.0, 0.3]),
            "cache": st.sampled_from(["exact", "prefix", "dual"]),
        }
    ),
)
def test_infilling_leaves_no_mask_and_keeps_what_is_given(
    prompt: str, suffix: str, hole: int, fields: dict[str, Any]
) -> None:
    prompt, suffix = (text.encode("utf-8", "ignore").decode() for text in (prompt, suffix))
    sequence = start(PREPARED, Generation(prompt=prompt, suffix=suffix, max_tokens=hole, **fields), PrefixCache(0))
    assert isinstance(sequence, MaskedSequence)
    given = sequence.tokens_L.copy()
    sequence.begin()
    while not sequence.done:
        step(PREPARED, [sequence], PrefixCache(0), 64)
    final = sequence.tokens_L
    kept = given != MASK
    assert np.array_equal(final[kept], given[kept])
    answer = sequence.completion()
    assert not np.isin(answer.tokens, [MASK, BOS]).any()
    if suffix:
        assert not np.isin(final, [MASK, EOS]).any()
        assert len(answer.tokens) == hole
    blocks = -(-hole // (min(hole, fields["block_length"]) or hole))
    assert answer.forward_passes <= hole + (int(0.3 * hole) + blocks if fields["remask"] else 0)
    assert len(final) <= 24
    assert answer.truncated_tokens == max(0, len(prompt.encode()) + len(suffix.encode()) + hole - 24)


@BOTH
def test_a_batch_answers_as_its_members_alone(model: Transformer) -> None:
    requests = [
        Generation(prompt="a" * n, max_tokens=3 + n, temperature=temperature, seed=n, top_p=0.9)
        for n in (0, 1, 5, 9)[not model.causal :]  # where all is masked, rounding decides which position comes first
        for temperature in (0.0, 1.0)
    ]
    together = generate(model, requests)
    alone = [generate(model, [request])[0] for request in requests]
    assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]


@BOTH
def test_a_seed_decides_and_temperature_0_needs_none(model: Transformer) -> None:
    def text(**fields: Any) -> list[int]:  # noqa: ANN401 - any field
        return generate(model, [Generation(prompt="x", max_tokens=12, **fields)])[0].tokens

    assert text(temperature=1.0, seed=1) == text(temperature=1.0, seed=1) != text(temperature=1.0, seed=2)
    assert text(seed=1) == text(seed=2)


@BOTH
@pytest.mark.parametrize("block", [0, 4])
def test_the_pieces_of_a_stream_are_the_text(model: Transformer, block: int) -> None:
    for seed in range(8):
        request = Generation(prompt="é", max_tokens=12, temperature=1.0, seed=seed, block_length=block, stop=("zq",))
        *pieces, last = stream(model, request)
        assert isinstance(last, Completion)
        assert "".join(str(piece) for piece in pieces) == last.text == generate(model, [request])[0].text
        assert all(pieces)


@BOTH
@pytest.mark.parametrize("block", [0, 1, 3])
@pytest.mark.parametrize("held", [0, 30], ids=["one", "two"])
def test_a_stream_shows_no_part_of_a_stop_text(model: Transformer, block: int, held: int) -> None:
    """Stop texts of any length at any place, with or without a longer one that never matches."""
    request = Generation(prompt="import ", max_tokens=12, temperature=1.0, top_p=0.5, block_length=block, seed=3)
    text = generate(model, [request])[0].text
    longer = ("~" * held,) if held else ()
    for begin in range(0, len(text), 3):
        for length in (1, 6):
            stops = (text[begin : begin + length], *longer)
            *pieces, last = stream(model, replace(request, stop=stops))
            assert isinstance(last, Completion)
            (plain,) = generate(model, [replace(request, stop=stops)])
            assert "".join(str(piece) for piece in pieces) == last.text == plain.text, stops


def test_ar_slides_its_window_and_counts_what_it_left_out() -> None:
    (answer,) = generate(AR, [Generation(prompt="b" * 100, max_tokens=40)])
    assert (answer.prompt_tokens, answer.truncated_tokens) == (24, 76)
    assert answer.forward_passes == len(answer.tokens) <= 40


def test_stop_text_ends_and_is_not_shown() -> None:
    (full,) = generate(AR, [Generation(prompt="q", max_tokens=20, temperature=1.0, seed=5)])
    stop = next(c for c in full.text if c.isascii())
    (cut,) = generate(AR, [Generation(prompt="q", max_tokens=20, temperature=1.0, seed=5, stop=(stop,))])
    assert cut.finish_reason == "stop"
    assert cut.text == full.text[: full.text.index(stop)]


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [
        (AR, {"suffix": "x"}, "suffix"),
        (DLM, {"max_tokens": 25}, "max_tokens"),
        (AR, {"max_tokens": 0}, "max_tokens"),
        (AR, {"temperature": -1.0}, "temperature"),
        (AR, {"top_p": 0.0}, "top_p"),
        (AR, {"stop": ("",)}, "stop"),
        (DLM, {"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_is_refused(model: Transformer, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        generate(model, [Generation(prompt="x", **fields)])
    assert caught.value.field == field


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60))
def test_shares_are_fair(left: int, right: int, room: int) -> None:
    a, b = truncate_both(left, right, room)
    assert 0 <= a <= left
    assert 0 <= b <= right
    assert a + b == min(left + right, room)
