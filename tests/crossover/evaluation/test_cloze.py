"""Scoring the domain cloze task."""

import numpy as np
import pytest
import torch

from crossover.data.cloze import ClozeItem
from crossover.data.tokenizer import BOS
from crossover.evaluation.cloze import score_cloze
from crossover.training.objectives import ar_nll
from tests.conftest import tiny_model

ITEMS = [
    ClozeItem(id="a", cluster="x", context=(0, 1, 2), options=((3, 4), (1, 1), (2, 0), (4, 4)), gold=0),
    ClozeItem(id="b", cluster="y", context=(4, 1, 0), options=((3, 3), (0, 1), (2, 2), (1, 4)), gold=2),
]


def test_ar_scores_are_the_option_s_own_likelihood() -> None:
    model = tiny_model(causal=True, vocab=259)
    scores = score_cloze(model, ITEMS, draws=9)
    with torch.inference_mode():
        nll = ar_nll(model, torch.tensor([[4, 1, 0, 2, 2]]), BOS)[0, 3:].mean()
    assert scores.option_nll_NO[1, 2] == pytest.approx(float(nll), rel=1e-6)
    assert (scores.estimator, scores.draws) == ("exact", 1)


def test_dlm_scores_converge_on_the_enumerated_bound() -> None:
    model = tiny_model(causal=False, vocab=259)

    def nll(tokens: list[int], place: int, truth: int) -> float:
        with torch.inference_mode():
            return float(-torch.log_softmax(model(torch.tensor([tokens]))[0, place].double(), -1)[truth])

    mask, (a, b) = model.mask_id, ITEMS[0].options[0]
    context = list(ITEMS[0].context)
    both = nll([*context, mask, mask], 3, a) + nll([*context, mask, mask], 4, b)
    one = nll([*context, mask, b], 3, a) + nll([*context, a, mask], 4, b)
    scores = score_cloze(model, ITEMS, draws=400)
    assert scores.option_nll_NO[0, 0] == pytest.approx((both / 2 + one / 2) / 2, rel=0.02)


def test_a_tie_is_shared_and_the_margin_is_zero() -> None:
    model = tiny_model(causal=True, vocab=259)
    same = ClozeItem(id="t", cluster="z", context=(0, 1, 2), options=((3, 4),) * 4, gold=1)
    scores = score_cloze(model, [same], draws=1)
    assert scores.correct_N.tolist() == [0.25]
    np.testing.assert_allclose(scores.margin_N, 0.0, atol=1e-12)


def test_margin_is_distractors_minus_truth() -> None:
    scores = score_cloze(tiny_model(causal=False, vocab=259), ITEMS, draws=4)
    row = scores.option_nll_NO[1]
    assert scores.margin_N[1] == pytest.approx(np.delete(row, 2).mean() - row[2])
    assert scores.correct_N[1] == float(row[2] == row.min())
