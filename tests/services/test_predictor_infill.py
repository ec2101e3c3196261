"""Infilling and scoring over real HTTP: what the engine and the library give, as answers."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from crossover.evaluation.continuation_scoring import score_items
from crossover.evaluation.tasks import Continuation
from tests.conftest import tiny_model

PARTS: list[Any] = ["ab", {"hole": 3}, "c", {"tokens": [100, 101]}, {"hole": 2}, "f"]


def post(url: str, path: str, **body: object) -> httpx.Response:
    return httpx.post(f"{url}{path}", json={"model": "crossover"} | body)


def infilled(url: str, **body: object) -> Any:  # noqa: ANN401 - JSON
    answer = post(url, "/v1/infill", **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(url: str, path: str, **body: object) -> list[Any]:
    lines = post(url, path, stream=True, **body).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_holes_are_filled_and_given_texts_stay(dlm_url: str) -> None:
    for base in ("/v1", "/openai/v1"):
        answer = post(dlm_url, f"{base}/infill", parts=PARTS, seed=3, ignore_eos=True).json()
        assert answer["object"] == "infill"
        choice = answer["choices"][0]
        first, second = choice["holes"]
        assert choice["text"] == f"ab{first['text']}cde{second['text']}f"
        assert (len(first["tokens"]), len(second["tokens"])) == (3, 2)
        values = first["logprobs"] + second["logprobs"]
        assert choice["confidence"] == pytest.approx(sum(values) / 5)
        assert (choice["seed"], choice["finish_reason"]) == (3, "length")
        assert answer["usage"]["completion_tokens"] == 5
        assert answer["usage"]["forward_passes"] == 5


def test_choices_have_seeds_of_their_own_and_alternatives_are_returned(dlm_url: str) -> None:
    answer = infilled(dlm_url, parts=PARTS, seed=3, n=3, logprobs=2)
    assert [choice["seed"] for choice in answer["choices"]] == [3, 4, 5]
    assert len({choice["text"] for choice in answer["choices"]}) > 1
    assert infilled(dlm_url, parts=PARTS, seed=4)["choices"][0]["text"] == answer["choices"][1]["text"]
    assert [len(top) for top in answer["choices"][0]["holes"][0]["top_logprobs"]] == [2, 2, 2]


def test_the_likeliest_length_of_a_range_is_kept(dlm_url: str) -> None:
    fields: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
    fixed = [infilled(dlm_url, parts=["ab", {"hole": n}, "c"], **fields)["choices"][0] for n in (1, 2, 3, 4)]
    ranged = infilled(dlm_url, parts=["ab", {"hole": [1, 4]}, "c"], **fields)["choices"][0]
    best = max(fixed, key=lambda choice: choice["confidence"])
    assert ranged["text"] == best["text"]
    assert ranged["confidence"] == best["confidence"]


def test_the_canvas_of_a_stream_becomes_the_answer(dlm_url: str) -> None:
    fields: dict[str, Any] = {"parts": PARTS, "seed": 3, "canvas": True, "stream_options": {"include_usage": True}}
    *passes, last, used = events(dlm_url, "/v1/infill", **fields)
    canvas: dict[int, str | None] = {}
    for number, chunk in enumerate(passes, start=1):
        choice = chunk["choices"][0]
        assert (chunk["object"], choice["forward_passes"]) == ("infill.chunk", number)
        canvas |= {update["position"]: update["text"] for update in choice["canvas"]}
        assert all(0 <= update["probability"] <= 1 for update in choice["canvas"])
    plain = infilled(dlm_url, parts=PARTS, seed=3)
    assert last["choices"] == plain["choices"]
    assert used["usage"] == plain["usage"]
    assert sorted(canvas) == [0, 1, 2, 3, 4]
    assert None not in canvas.values()


def test_a_completion_streams_its_canvas(dlm_url: str) -> None:
    fields: dict[str, Any] = {"prompt": "ab", "max_tokens": 4, "seed": 3, "canvas": True}
    chunks = [chunk["choices"][0] for chunk in events(dlm_url, "/v1/completions", **fields)]
    passes = [choice["forward_passes"] for choice in chunks if "canvas" in choice]
    assert passes == [1, 2, 3, 4]
    plain = post(dlm_url, "/v1/completions", prompt="ab", max_tokens=4, seed=3).json()["choices"][0]["text"]
    assert "".join(choice["text"] for choice in chunks) == plain


BAD: dict[str, Any] = {
    "parts: must have a hole": ["abc"],
    "parts: is not a list": "abc",
    "parts: is neither text": ["ab", {"hole": 2, "tokens": [1]}],
    "parts: should have 1 to 4096 tokens": ["ab", {"hole": 0}],
    "parts: should have 1 to 4096 tokens, the least first": ["ab", {"hole": [4, 2]}],
    "parts: is neither a number of tokens": ["ab", {"hole": "4"}],
    "parts: there is no token 300": ["ab", {"hole": 1}, {"tokens": [300]}],
    "combinations of lengths": ["ab", {"hole": [1, 9]}, "c", {"hole": [1, 9]}],
    "parts: value should have at least 1 item": [],
}


@pytest.mark.parametrize(("message", "parts"), BAD.items(), ids=list(BAD))
def test_malformed_parts_are_refused(dlm_url: str, message: str, parts: object) -> None:
    answer = post(dlm_url, "/v1/infill", parts=parts)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "parts"


def test_too_many_lengths_are_refused_before_they_are_made(dlm_url: str) -> None:
    began = time.monotonic()
    answer = httpx.post(f"{dlm_url}/v1/infill", json={"model": "crossover", "parts": [{"hole": [1, 4096]}] * 200})
    assert answer.status_code == 400
    assert "combinations of lengths" in answer.json()["error"]["message"]
    assert time.monotonic() - began < 0.5


def test_texts_and_holes_longer_than_the_context_are_refused(dlm_url: str) -> None:
    answer = post(dlm_url, "/v1/infill", parts=["x" * 30, {"hole": 4}])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_an_autoregressive_model_cannot_fill_holes(ar_url: str) -> None:
    answer = post(ar_url, "/v1/infill", parts=PARTS)
    assert answer.status_code == 400
    assert "cannot attend to text after a hole" in answer.json()["error"]["message"]


def test_scores_are_those_of_the_library(url: str, ar_url: str) -> None:
    model = tiny_model(causal=url == ar_url, vocab=259, length=32)
    pairs = [Continuation("ab", "cde"), Continuation("ab", "x"), Continuation("ab", (97, 98, 99, 100, 101, 102))]
    texts = [list(pair.continuation) if isinstance(pair.continuation, tuple) else pair.continuation for pair in pairs]
    for base in ("/v1", "/openai/v1"):
        answer = post(url, f"{base}/score", context="ab", continuation=texts, draws=9, seed=5).json()
        for pair, score in zip(pairs, answer["scores"], strict=True):
            item = next(iter(score_items(model, [[pair]], draws=9, first=5)))
            assert score["nll"] == pytest.approx(item.scored[0].nll, rel=1e-6)
            assert score["stderr"] == pytest.approx(item.scored[0].stderr, rel=1e-6)
            assert (score["tokens"], score["draws"]) == (item.scored[0].tokens, item.scored[0].draws)
            assert score["greedy"] == (item.greedy[0] if url == ar_url else None)
            assert score["estimator"] == ("exact" if url == ar_url else "upper bound")
    one = post(url, "/v1/score", context="ab", continuation="cde", draws=9, seed=5).json()["scores"]
    assert one == answer["scores"][:1]


def test_an_exact_score_is_that_of_the_greedy_completion(ar_url: str) -> None:
    fields: dict[str, Any] = {"max_tokens": 3, "temperature": 0, "logprobs": 0, "ignore_eos": True}
    choice = post(ar_url, "/v1/completions", prompt="ab", **fields).json()["choices"][0]
    tokens = [ord(text) if len(text) == 1 else int(text[-2:], 16) for text in choice["logprobs"]["tokens"]]
    score = post(ar_url, "/v1/score", context="ab", continuation=tokens).json()["scores"][0]
    assert score["greedy"] is True
    assert -score["nll"] == pytest.approx(sum(choice["logprobs"]["token_logprobs"]), abs=1e-4)


def test_what_cannot_be_scored_is_refused(url: str) -> None:
    for fields, param in (
        ({"continuation": "x" * 40}, "continuation.0"),
        ({"continuation": ["x", ""]}, "continuation.1"),
        ({"continuation": []}, "continuation"),
        ({"continuation": "x", "draws": 0}, "draws"),
        ({"continuation": "x", "context": 5}, "context"),
        ({"continuation": [[97, 259]]}, "continuation.0"),
        ({"continuation": [[258]]}, "continuation.0"),
        ({"continuation": "x", "context": [97, 1 << 40]}, "context"),
    ):
        answer = post(url, "/v1/score", **fields)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param
