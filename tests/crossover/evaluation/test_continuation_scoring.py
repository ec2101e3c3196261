"""Likelihoods of continuations, against one at a time and against enumeration."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from crossover.errors import DataError
from crossover.evaluation import continuation_scoring, scored_forward
from crossover.evaluation.continuation_scoring import score_in_turns, score_items
from crossover.evaluation.encoded_pair import encode_pair
from crossover.evaluation.tasks import Continuation
from crossover.model.transformer import Transformer
from crossover.tokenization.tokenizer import BOS, BYTES
from crossover.training.training_objectives import ar_nll
from tests.conftest import tiny_model

ITEMS = [
    [Continuation("The cat", " sat"), Continuation("The cat", " ran off"), Continuation("The cat", " x")],
    [Continuation("", "a sentence"), Continuation("", "another one")],
    [Continuation("one way", " out"), Continuation("another way", " out")],
    [Continuation((1, 2, 3), (4, 5)), Continuation((1, 2, 3), (5, 4))],
]


def model_of(kind: str, length: int = 24) -> Transformer:
    return tiny_model(causal=kind == "ar", vocab=259, length=length, block_length=4 if kind == "bd" else 0)


def test_ar_scores_are_those_of_each_continuation_alone() -> None:
    model = model_of("ar")
    for item, result in zip(ITEMS, score_items(model, ITEMS, draws=4), strict=True):
        for one, scored, greedy in zip(item, result.scored, result.greedy, strict=True):
            context, option = encode_pair(one.context, one.continuation)
            with torch.inference_mode():
                full = torch.tensor(np.concatenate((context, option)))[None]
                nll = ar_nll(model, full, BOS)[0, len(context) :].double()
                logits = model(torch.cat((torch.tensor([[BOS]]), full[:, :-1]), dim=1))[0, len(context) :]
            assert scored.nll == pytest.approx(float(nll.sum()), rel=1e-5)
            assert (scored.stderr, scored.tokens, scored.draws) == (0.0, len(option), 1)
            assert greedy == bool((logits.argmax(-1).numpy() == option).all())


def test_scoring_in_turns_pauses_after_every_pass_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("dlm")
    monkeypatch.setitem(scored_forward.FEATURES_PER_FORWARD, "cpu", 16)
    monkeypatch.setattr(scored_forward, "LEAST_POSITIONS", 1)
    item = [Continuation("The cat", " ran off")]
    *pauses, result = score_in_turns(model, item, draws=6, first=3)
    assert pauses == [None] * 6
    assert result == next(score_items(model, [item], draws=6, first=3))


@pytest.mark.parametrize("budget", [1, 60, 100_000])
@pytest.mark.parametrize("kind", ["ar", "dlm", "bd"])
def test_batches_change_nothing(kind: str, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(kind)
    expected = [one.nll for result in score_items(model, ITEMS, draws=6) for one in result.scored]
    monkeypatch.setitem(scored_forward.FEATURES_PER_FORWARD, "cpu", 16 * budget)
    monkeypatch.setattr(scored_forward, "LEAST_POSITIONS", 1)
    monkeypatch.setattr(continuation_scoring, "ITEMS_AT_ONCE", 2)
    again = [one.nll for result in score_items(model, ITEMS, draws=6) for one in result.scored]
    np.testing.assert_allclose(again, expected, rtol=1e-5)
    alone = [
        one.nll for n, item in enumerate(ITEMS) for one in next(score_items(model, [item], draws=6, first=n)).scored
    ]
    np.testing.assert_allclose(alone, expected, rtol=1e-5)


def enumerated(model: Transformer, context: list[int], option: list[int]) -> float:
    """The bound on the option given the context: the mean over all orders of the chain rule."""
    total, orders = 0.0, list(itertools.permutations(range(len(option))))
    for order in orders:
        for step, place in enumerate(order):
            shown = [token if i in order[:step] else model.mask_id for i, token in enumerate(option)]
            with torch.inference_mode():
                logits = model(torch.tensor([context + shown]))[0, len(context) + place].double()
            total -= float(logits.log_softmax(-1)[option[place]])
    return total / len(orders)


def test_short_options_are_enumerated_and_long_ones_unbiased() -> None:
    model, context = model_of("dlm"), BYTES.encode("ab c").tolist()
    for text in ("x", "de", "fgh"):
        item = [Continuation("ab c", text), Continuation("ab c", "y")]
        scored = next(score_items(model, [item], draws=7)).scored[0]
        assert scored.nll == pytest.approx(enumerated(model, context, BYTES.encode(text).tolist()), rel=1e-5)
        assert (scored.stderr, scored.draws) == (0.0, 2 ** len(text) - 1)
    truth = enumerated(model, context, BYTES.encode("fgh").tolist())
    draws = [one.scored[0] for one in score_items(model, [[Continuation("ab c", "fgh")]] * 400, draws=6)]
    values = np.array([one.nll for one in draws])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / 20)
    assert 0.5 < np.sqrt(np.mean([one.stderr**2 for one in draws])) / values.std() < 2


def test_block_diffusion_scores_each_block_given_those_before() -> None:
    model, context = model_of("bd"), BYTES.encode("ab c").tolist()  # blocks of four: the option starts its own
    item = [Continuation("ab c", "de"), Continuation("ab c", "fg")]
    for one, text in zip(next(score_items(model, [item], draws=8)).scored, ("de", "fg"), strict=True):
        assert one.nll == pytest.approx(enumerated(model, context, BYTES.encode(text).tolist()), rel=1e-5)
    assert continuation_scoring.option_blocks(6, 7, 4).tolist() == [2, 4, 1]


def test_options_share_their_masks() -> None:
    """Options that differ in nothing have the same noise, so that their difference has none."""
    same = next(score_items(model_of("dlm"), [[Continuation("ab", "a longer option")] * 2], draws=4)).scored
    assert same[0] == same[1]
    assert same[0].stderr > 0
    assert math.isnan(
        next(score_items(model_of("dlm"), [[Continuation("ab", "option")] * 2], draws=1)).scored[0].stderr
    )


def test_long_contexts_lose_their_left_and_are_counted() -> None:
    for kind in ("ar", "dlm"):
        model = model_of(kind, length=8)
        long = next(
            score_items(model, [[Continuation("abcdefghij", " k"), Continuation("abcdefghij", " lm")]], draws=4)
        )
        short = next(score_items(model, [[Continuation("fghij", " k"), Continuation("fghij", " lm")]], draws=4))
        assert long.scored == short.scored
        assert (long.truncated, short.truncated) == (10, 0)
        with pytest.raises(DataError, match="longer than the model's context of 8"):
            next(score_items(model, [[Continuation("a", "nine char")]], draws=4))


def test_letters_cost_one_forward_pass_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    model, run = model_of("dlm"), continuation_scoring._run_batch
    rows: list[object] = []

    def counted(model: Transformer, batch: list[Any], width: int) -> None:
        rows.extend(batch)
        run(model, batch, width)

    monkeypatch.setattr(continuation_scoring, "_run_batch", counted)
    item = [Continuation((1, 2, 3), (65 + n,)) for n in range(4)]
    scored = next(score_items(model, [item], draws=128)).scored
    assert (len(rows), len({one.nll for one in scored})) == (1, 4)


def merging(text: str) -> np.ndarray:
    """A tokenizer that merges across words: "ab" and " a" are one token."""
    vocabulary = {symbol: number for number, symbol in enumerate(["a", "b", "c", " ", "ab", " a"])}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b"), (" ", "a")]))
    bpe.pre_tokenizer = pre_tokenizers.Split("never", "isolated")
    return np.array(bpe.encode(text).ids, dtype=np.int64)


@pytest.mark.parametrize(
    ("context", "continuation", "expected"),
    [
        ("c", " b", ([2], [3, 1])),
        ("ca", "b", ([2], [4])),  # the merged token is the continuation's
        ("c ", "a", ([2], [5])),  # a blank at the end goes over
        ("", "ab", ([], [4])),
        ("c  ", "b", ([2], [3, 3, 1])),
    ],
)
def test_a_token_across_the_boundary_belongs_to_the_continuation(
    context: str, continuation: str, expected: tuple[list[int], list[int]]
) -> None:
    first, second = encode_pair(context, continuation, merging)
    assert (first.tolist(), second.tolist()) == expected
    assert np.concatenate((first, second)).tolist() == merging(context + continuation).tolist()
