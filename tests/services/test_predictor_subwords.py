"""The predictor with subwords: byte-level BPE, and SentencePiece's with byte fallback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crossover.commands.serve_command import serving
from crossover.commands.serve_samples import Passage, show_samples
from crossover.tokenization.subword_tokenizer import SubwordTokenizer
from tests.conftest import tiny_model
from tests.crossover.tokenization.sentencepiece_files import sentencepiece
from tests.crossover.tokenization.test_subword_tokenizer import BPE
from tests.services.conftest import write_checkpoint

PROMPT = " the grünen 😀 hi"
TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
Served = tuple[str, SubwordTokenizer]


def served(folder: Path, tokenizer: SubwordTokenizer, *, causal: bool) -> Iterator[Served]:
    model = tiny_model(causal=causal, vocab=tokenizer.vocab_size, length=48)
    model.tokenizer = tokenizer
    with serving(write_checkpoint(folder / "c", model=model, chat_template=TEMPLATE)) as url:
        yield url, tokenizer


@pytest.fixture(scope="module", params=["byte-level", "byte fallback"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SubwordTokenizer:
    return BPE if request.param == "byte-level" else sentencepiece(tmp_path_factory.mktemp("file"))


@pytest.fixture(scope="module")
def ar(tmp_path_factory: pytest.TempPathFactory, tokenizer: SubwordTokenizer) -> Iterator[Served]:
    yield from served(tmp_path_factory.mktemp("ar"), tokenizer, causal=True)


@pytest.fixture(scope="module")
def dlm(tmp_path_factory: pytest.TempPathFactory, tokenizer: SubwordTokenizer) -> Iterator[Served]:
    yield from served(tmp_path_factory.mktemp("dlm"), tokenizer, causal=False)


def post(url: str, path: str, **body: object) -> Any:  # noqa: ANN401 # JSON
    answer = httpx.post(f"{url}{path}", json={"model": "crossover", "seed": 3, "ignore_eos": True} | body, timeout=60)
    assert answer.status_code == 200, answer.text
    if not body.get("stream"):
        return answer.json()
    lines = answer.text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_echo_streams_and_chat_of_an_autoregressive_model_are_the_completion(ar: Served) -> None:
    check_completion(*ar, {"max_tokens": 16})


def test_echo_streams_and_chat_of_a_diffusion_model_are_the_completion(dlm: Served) -> None:
    check_completion(*dlm, {"max_tokens": 16, "block_length": 4})


def check_completion(url: str, tokenizer: SubwordTokenizer, length: dict[str, int]) -> None:
    fields: dict[str, Any] = {"prompt": PROMPT} | length
    whole = post(url, "/v1/completions", **fields)
    text = whole["choices"][0]["text"]
    assert whole["usage"]["prompt_tokens"] == len(tokenizer.encode(PROMPT)) < len(PROMPT.encode())
    assert post(url, "/v1/completions", **fields, echo=True)["choices"][0]["text"] == PROMPT + text
    ids = tokenizer.encode(PROMPT).tolist()
    assert post(url, "/v1/completions", **fields | {"prompt": ids}, echo=True)["choices"][0]["text"] == PROMPT + text
    pieces = [chunk["choices"][0]["text"] for chunk in post(url, "/v1/completions", **fields, stream=True)]
    assert "".join(pieces) == text
    assert len(pieces) > 2
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPT}]} | length
    answer = post(url, "/v1/chat/completions", **chat)["choices"][0]["message"]["content"]
    assert answer == post(url, "/v1/completions", **fields | {"prompt": f"{PROMPT}\n"})["choices"][0]["text"]
    deltas = [
        c["choices"][0]["delta"].get("content") or "" for c in post(url, "/v1/chat/completions", **chat, stream=True)
    ]
    assert "".join(deltas) == answer


def test_log_probabilities_of_an_echo_are_those_of_the_tokens(ar: Served) -> None:
    url, tokenizer = ar
    choice = post(url, "/v1/completions", prompt=PROMPT, max_tokens=8, echo=True, logprobs=1)["choices"][0]
    listed = choice["logprobs"]
    assert listed["token_logprobs"][0] is None
    count = len(tokenizer.encode(PROMPT))
    assert len(listed["tokens"]) == count + 8
    pieces = [tokenizer.token_bytes(token) for token in tokenizer.encode(PROMPT).tolist()]
    for piece, shown in zip(pieces, listed["tokens"], strict=False):
        assert shown == (piece.decode() if piece.decode("utf-8", "replace").isprintable() else shown)
    assert [len(b"".join(pieces[:n]).decode("utf-8", "ignore")) for n in range(count)] == listed["text_offset"][:count]


def test_holes_of_tokens_are_filled_between_the_parts_as_they_are(dlm: Served) -> None:
    url, tokenizer = dlm
    parts: list[Any] = ["the gr", {"hole": 3}, " <|mask|> ▁ ", {"hole": [1, 2]}, "hills"]
    choice = post(url, "/v1/infill", parts=parts)["choices"][0]
    first, second = choice["holes"]
    assert choice["text"] == f"the gr{first['text']} <|mask|> ▁ {second['text']}hills"
    assert (len(first["tokens"]), len(second["tokens"]) in (1, 2)) == (3, True)
    assert tokenizer.decode(first["tokens"]) == first["text"]
    suffix = post(url, "/v1/completions", prompt="the gr", suffix=" hills", max_tokens=4, echo=True)["choices"][0][
        "text"
    ]
    assert suffix.startswith("the gr")
    assert suffix.endswith(" hills")


def test_try_asks_for_holes_as_long_as_the_true_text_in_tokens(dlm: Served, capsys: pytest.CaptureFixture[str]) -> None:
    url, tokenizer = dlm
    assert show_samples(url, [Passage("the old sea and ", "the green hills of 3")])
    output = capsys.readouterr().out
    truth = "the green hi"
    assert f"infill (temperature 0); the held-out text has {truth!r}" in output
    passes = [float(line.split()[0]) for line in output.splitlines() if " passes," in line]
    assert max(passes[:-1]) == len(tokenizer.encode(truth)) < len(truth)
