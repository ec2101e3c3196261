"""Sampling: the distribution that is asked for, to which penalties and biases apply first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossover.decoding.generation_request import Generation, Sampling
from crossover.decoding.token_sampling import LogitChanges, choose, log_softmax, logprobs_of
from crossover.errors import RequestError

DRAWS = 20_000
LOGITS = np.log(np.array([[0.5, 0.3, 0.15, 0.05]]))


def shares(**fields: Any) -> list[float]:  # noqa: ANN401 - any field
    tokens = choose(LOGITS.repeat(DRAWS, axis=0), Sampling(**fields), np.random.default_rng(0))
    return [count / DRAWS for count in np.bincount(tokens, minlength=4).tolist()]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 1.0}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 1.0, "top_p": 0.6}, [0.625, 0.375, 0, 0]),
        ({"temperature": 1.0, "top_k": 3}, [0.526, 0.316, 0.158, 0]),
        ({"temperature": 1.0, "top_k": 1}, [1, 0, 0, 0]),
        ({"temperature": 1.0, "min_p": 0.2}, [0.526, 0.316, 0.158, 0]),
        ({"temperature": 0.5}, [0.685, 0.247, 0.062, 0.007]),
        ({}, [1, 0, 0, 0]),
        ({"temperature": 1e-308}, [1, 0, 0, 0]),
    ],
    ids=str,
)
def test_samples_follow_the_truncated_distribution(fields: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(shares(**fields), expected, atol=0.015)


def test_penalties_and_biases_change_the_logits_as_documented() -> None:
    sampling = Sampling(
        logit_bias={0: 2.0, 3: -100}, repetition_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25
    )
    changes = LogitChanges(sampling, np.array([1]), 4)
    for token in (2, 2):
        changes.count(token)
    logits = np.array([[1.0, -1.0, 4.0, 1.0]])
    changes.apply(logits)
    assert logits.tolist() == [[3.0, -2.0, 4.0 / 2 - 0.5 - 2 * 0.25, -np.inf]]
    changes.count(2, -1)
    changes.count(2, -1)
    logits = np.array([[1.0, -1.0, 4.0, 1.0]])
    changes.apply(logits)
    assert logits.tolist() == [[3.0, -2.0, 4.0, -np.inf]]


def test_log_probabilities_list_the_likeliest_tokens_in_order() -> None:
    (item,) = logprobs_of([3], log_softmax(LOGITS), 2)
    assert (item.token, round(item.logprob or 0, 4)) == (3, round(np.log(0.05), 4))
    assert [token for token, _ in item.top] == [0, 1]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 1.0}, "min_p"),
        ({"logprobs": 21}, "logprobs"),
        ({"logit_bias": {1: float("inf")}}, "logit_bias"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"frequency_penalty": 11.0}, "frequency_penalty"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"confidence_threshold": 1.5}, "confidence_threshold"),
        ({"remask": 1.0}, "remask"),
        ({"stop": ("x" * 2000,)}, "stop"),
        ({"stop": tuple("abcdefghijklmnopq")}, "stop"),
    ],
    ids=str,
)
def test_a_field_out_of_range_is_refused_by_its_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        Generation(prompt="x", **fields)
    assert caught.value.field == field
