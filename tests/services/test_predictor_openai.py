"""The OpenAI-style routes over real HTTP, with the official client: completions, streams, chat, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from crossover.commands.serve_command import serving
from crossover.tokenization.tokenizer import VOCAB_SIZE
from tests.services.conftest import write_checkpoint

BOTH = pytest.mark.parametrize("base", ["/v1", "/openai/v1"])


@BOTH
def test_completion_under_both_prefixes(url: str, base: str) -> None:
    with OpenAI(base_url=url + base, api_key="none", max_retries=0) as client:
        answer = client.completions.create(model="crossover", prompt="ab", max_tokens=5, temperature=0, echo=True)
        assert answer.choices[0].text.startswith("ab")
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5
        assert [model.id for model in client.models.list()] == ["crossover"]


def test_several_prompts_and_choices_with_logprobs(client: OpenAI) -> None:
    answer = client.completions.create(
        model="crossover", prompt=["a", "b"], n=2, max_tokens=4, temperature=1, seed=3, logprobs=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert all(value <= 0 for value in logprobs.token_logprobs)
    alone = client.completions.create(model="crossover", prompt="b", max_tokens=4, temperature=1, seed=4)
    assert alone.choices[0].text == answer.choices[3].text


def test_a_stream_adds_up_and_ends_with_usage(client: OpenAI, url: str, ar_url: str) -> None:
    fields = {"model": "crossover", "prompt": "ab", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**fields)  # type: ignore[call-overload]  # fields of every overload
    extra = {} if url == ar_url else {"block_length": 2}
    chunks = list(
        client.completions.create(**fields, stream=True, stream_options={"include_usage": True}, extra_body=extra)  # type: ignore[call-overload]  # fields of every overload
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-2].choices[0].finish_reason in ("length", "stop")
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    blocks = client.completions.create(**fields, extra_body=extra)  # type: ignore[call-overload]  # fields of every overload
    assert text == blocks.choices[0].text
    assert whole.choices[0].finish_reason == blocks.choices[0].finish_reason


def test_the_diffusion_model_fills_a_hole(dlm: OpenAI) -> None:
    answer = dlm.completions.create(
        model="crossover", prompt="def f(", suffix="): pass", max_tokens=4, temperature=0, echo=True
    )
    assert answer.choices[0].text.startswith("def f(")
    assert answer.choices[0].text.endswith("): pass")
    fewer = dlm.completions.create(
        model="crossover", prompt="x", suffix="y", max_tokens=8, temperature=0, extra_body={"steps": 2}
    )
    assert fewer.usage is not None
    assert fewer.usage.model_extra is not None
    assert fewer.usage.model_extra["forward_passes"] == 2


def test_an_autoregressive_model_refuses_a_suffix(ar_url: str) -> None:
    with OpenAI(base_url=f"{ar_url}/v1", api_key="none", max_retries=0) as client:
        for stream in (False, True):
            with pytest.raises(BadRequestError, match="cannot attend to text after the completion") as caught:
                client.completions.create(model="crossover", prompt="x", suffix="y", stream=stream)
            assert caught.value.param == "suffix"


def test_errors_have_openai_s_shape(client: OpenAI, url: str) -> None:
    with pytest.raises(NotFoundError, match="there is no 'gpt'"):
        client.completions.create(model="gpt", prompt="x")
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(model="crossover", prompt="x", temperature=-3)
    assert caught.value.param == "temperature"
    with pytest.raises(BadRequestError, match="no chat template"):
        client.chat.completions.create(model="crossover", messages=[{"role": "user", "content": "hi"}])
    broken = httpx.post(f"{url}/v1/completions", content=b"{")
    assert (broken.status_code, broken.json()["error"]["type"]) == (400, "invalid_request_error")


def test_concurrent_answers_are_those_of_one_at_a_time(client: OpenAI) -> None:
    """With prompts: where all is masked, all positions are alike, and rounding decides which a batch fills first."""

    def ask(seed: int) -> str:
        answer = client.completions.create(
            model="crossover", prompt="x" * (1 + seed % 5), max_tokens=6, temperature=1, seed=seed
        )
        return answer.choices[0].text

    alone = [ask(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == alone


def stream_of(client: OpenAI, **fields: Any) -> list[Any]:  # noqa: ANN401 - the client's chunks
    return list(client.completions.create(model="crossover", stream=True, **fields))


def test_several_prompts_and_choices_are_streamed_by_index(client: OpenAI) -> None:
    fields: dict[str, Any] = {"prompt": ["ab", "c"], "n": 2, "max_tokens": 8, "seed": 3}
    plain = client.completions.create(model="crossover", **fields)
    chunks = stream_of(client, **fields, stream_options={"include_usage": True})
    texts, reasons = [""] * 4, [""] * 4
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.text for choice in plain.choices]
    assert reasons == [choice.finish_reason for choice in plain.choices]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].usage == plain.usage
    assert plain.usage is not None
    assert plain.usage.prompt_tokens == 3, "a prompt counts once, however many choices it has"


def test_no_part_of_a_stop_text_is_streamed(client: OpenAI) -> None:
    """The case of vllm-project/vllm#3574: a stream sent the beginning of a stop text, and a DLM what follows it."""
    fields: dict[str, Any] = {"prompt": "ab", "max_tokens": 16, "extra_body": {"ignore_eos": True}}
    for seed in range(6):
        whole = client.completions.create(model="crossover", seed=seed, **fields).choices[0].text
        for stop in (whole[:3], whole[4:7], [whole[6:8], "never"]):
            plain = client.completions.create(model="crossover", seed=seed, stop=stop, **fields).choices[0]
            pieces = [choice.text for x in stream_of(client, seed=seed, stop=stop, **fields) for choice in x.choices]
            assert "".join(pieces) == plain.text == whole[: whole.index(stop if isinstance(stop, str) else stop[0])]
            assert plain.finish_reason == "stop"


def test_echo_in_a_stream(client: OpenAI) -> None:
    fields: dict[str, Any] = {"prompt": ["ab", "c"], "max_tokens": 4, "seed": 3, "echo": True}
    plain = client.completions.create(model="crossover", **fields)
    texts = ["", ""]
    for chunk in stream_of(client, **fields):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [choice.text for choice in plain.choices]
    assert [text[:1] for text in texts] == ["a", "c"]


def test_the_asynchronous_client(url: str) -> None:
    async def ask() -> list[str]:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            fields: dict[str, Any] = {"model": "crossover", "max_tokens": 6, "seed": 1}
            answers = await asyncio.gather(*(client.completions.create(prompt=text, **fields) for text in "abc"))
            streams = [await client.completions.create(prompt=text, stream=True, **fields) for text in "abc"]
            texts = ["".join([choice.text async for chunk in s for choice in chunk.choices]) for s in streams]
            assert texts == [answer.choices[0].text for answer in answers]
            return texts

    assert len(set(asyncio.run(ask()))) > 1


def test_token_ids_are_prompts_in_every_form(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": "crossover", "max_tokens": 6, "seed": 1, "echo": True}
    texts = client.completions.create(prompt=["ab", "c"], **fields)
    assert client.completions.create(prompt=[[97, 98], [99]], **fields).choices == texts.choices
    assert client.completions.create(prompt=[97, 98], **fields).choices == texts.choices[:1]
    assert client.completions.create(prompt=[99], **fields).choices[0].text == texts.choices[1].text
    with pytest.raises(BadRequestError, match="there is no token 259; the vocabulary has 259") as caught:
        client.completions.create(prompt=[97, VOCAB_SIZE], **fields)
    assert caught.value.param == "prompt"


def test_logprobs_have_every_list_of_openai_s_form(client: OpenAI) -> None:
    answer = client.completions.create(
        model="crossover", prompt="ab", max_tokens=6, seed=2, logprobs=3, extra_body={"ignore_eos": True}
    ).choices[0]
    logprobs = answer.logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert logprobs.text_offset is not None
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == 6
    for token, value, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        assert top[token] == value, "the token itself is among them"
        assert 3 <= len(top) <= 4
        assert max(top.values()) >= value
    assert logprobs.text_offset == sorted(logprobs.text_offset)
    assert max(logprobs.text_offset) <= len(answer.text)


def test_streamed_logprobs_are_those_of_the_answer(client: OpenAI) -> None:
    fields: dict[str, Any] = {"prompt": "ab", "max_tokens": 6, "seed": 2, "logprobs": 2}
    whole = client.completions.create(model="crossover", **fields).choices[0].logprobs
    parts = [x.choices[0].logprobs for x in stream_of(client, **fields) if x.choices and x.choices[0].logprobs]
    assert whole is not None
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [item for part in parts for item in getattr(part, name)] == getattr(whole, name)


def test_echo_with_logprobs_gives_those_of_the_prompt(ar_url: str) -> None:
    """The case of lm-evaluation-harness#1411: harnesses score a text by its echo."""
    with OpenAI(base_url=f"{ar_url}/v1", api_key="none", max_retries=0) as client:
        for prompt in ("abc", [97, 98, 99]):
            fields: dict[str, Any] = {"model": "crossover", "prompt": prompt, "logprobs": 1, "echo": True}
            only = client.completions.create(**fields, max_tokens=0).choices[0]
            more = client.completions.create(**fields, max_tokens=2, temperature=0).choices[0]
            assert only.text == "abc"
            assert only.logprobs is not None
            assert more.logprobs is not None
            assert only.logprobs.tokens == ["a", "b", "c"]
            assert only.logprobs.token_logprobs is not None
            assert only.logprobs.top_logprobs is not None
            assert only.logprobs.token_logprobs[0] is None
            assert only.logprobs.top_logprobs[0] is None
            assert all(value < 0 for value in only.logprobs.token_logprobs[1:])
            assert only.logprobs.text_offset == [0, 1, 2]
            assert more.logprobs.token_logprobs is not None
            assert more.logprobs.token_logprobs[:3] == only.logprobs.token_logprobs
            assert len(more.logprobs.token_logprobs) == 5
        with pytest.raises(BadRequestError, match="0 goes with prompt_logprobs"):
            client.completions.create(model="crossover", prompt="abc", max_tokens=0)


def test_a_diffusion_model_points_from_echo_with_logprobs_to_scores(dlm: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="/v1/score"):
        dlm.completions.create(model="crossover", prompt="abc", logprobs=1, echo=True, max_tokens=0)


def test_the_likeliest_of_best_of_is_returned(client: OpenAI) -> None:
    fields: dict[str, Any] = {"model": "crossover", "prompt": "ab", "max_tokens": 4, "seed": 7, "logprobs": 0}
    fields["extra_body"] = {"ignore_eos": True}
    all_of_them = client.completions.create(**fields, n=6).choices
    best = client.completions.create(**fields, best_of=6, n=2)

    def total(choice: Any) -> float:  # noqa: ANN401 - the client's choice
        return float(sum(choice.logprobs.token_logprobs))

    expected = sorted(all_of_them, key=total, reverse=True)[:2]
    assert [choice.text for choice in best.choices] == [choice.text for choice in expected]
    assert best.usage is not None
    assert best.usage.completion_tokens == 24, "all that was generated"


@pytest.mark.parametrize(
    "field",
    [
        {"logit_bias": {"120": 100}},
        {"extra_body": {"top_k": 1, "logit_bias": {"120": 60}}},
        {"extra_body": {"min_p": 0.9, "logit_bias": {"120": 60}}},
    ],
)
def test_fields_that_change_the_distribution_are_obeyed(client: OpenAI, field: dict[str, Any]) -> None:
    answer = client.completions.create(model="crossover", prompt="ab", max_tokens=8, **field)
    assert answer.choices[0].text == "x" * 8


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_penalties_make_other_tokens_likelier(client: OpenAI, penalty: str) -> None:
    fields: dict[str, Any] = {"model": "crossover", "prompt": "ab", "max_tokens": 8, "temperature": 0}
    fields |= {"logit_bias": {"120": 100, "121": 100}}
    plain = client.completions.create(**fields).choices[0].text
    penalised = client.completions.create(**(fields | {penalty: 10.0})).choices[0].text
    assert set(penalised) == {"x", "y"}
    assert penalised != plain


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(client: OpenAI) -> None:
    for prompt in ("x" * 33, list(range(33))):
        with pytest.raises(BadRequestError) as caught:
            client.completions.create(model="crossover", prompt=prompt)
        assert caught.value.code == "context_length_exceeded"
        assert "33" in str(caught.value)
        assert "32" in str(caught.value)
    answer = client.completions.create(model="crossover", prompt="x" * 30, extra_body={"ignore_eos": True})
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 2, "what the context leaves"
    kept = client.completions.create(
        model="crossover", prompt="y" * 40 + "ab", seed=1, max_tokens=4, extra_body={"truncate_prompt_tokens": 2}
    )
    short = client.completions.create(model="crossover", prompt="ab", seed=1, max_tokens=4)
    assert kept.choices == short.choices


def test_a_request_that_takes_longer_than_its_timeout_is_given_up(client: OpenAI) -> None:
    with pytest.raises(APIError) as caught:
        client.completions.create(model="crossover", prompt=["x"] * 200, n=1, extra_body={"timeout": 1e-6})
    assert getattr(caught.value, "status_code") == 408  # noqa: B009 - of APIStatusError


def test_what_has_no_answer_is_refused_in_openai_s_shape(client: OpenAI, url: str) -> None:
    with pytest.raises(BadRequestError, match="no embeddings"):
        client.embeddings.create(model="crossover", input="x")
    with pytest.raises(NotFoundError, match="there is no 'gpt'"):
        client.models.retrieve("gpt")
    for path in ("/v1/none", "/openai/v1/none"):
        assert httpx.get(url + path).json()["error"]["type"] == "not_found_error"
    assert httpx.get(f"{url}/v1/completions").json()["error"]["message"].endswith("Method Not Allowed")
    for field, value in (("best_of", 2), ("canvas", True)):
        body = {"model": "crossover", "prompt": "x", "n": 3 if field == "best_of" else 1, field: value}
        assert httpx.post(f"{url}/v1/completions", json=body).json()["error"]["param"] == field


def test_the_card_tells_capabilities_and_checkpoint(client: OpenAI, url: str, ar_url: str) -> None:
    card = client.models.retrieve("crossover").model_dump()
    assert card["family"] == ("autoregressive" if url == ar_url else "masked diffusion")
    assert (card["infill"], card["prompt_logprobs"]) == (url != ar_url, url == ar_url)
    assert (card["max_length"], card["chat"], card["step"]) == (32, False, 1)
    assert card["digest"].startswith("sha256:")


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'developer' %}{{ raise_exception('no developer') }}{% endif %}"
    "{{ m.role[0] }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)


@pytest.fixture(scope="module")
def chat_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = write_checkpoint(tmp_path_factory.mktemp("chat") / "c", chat_template=TEMPLATE)
    with serving(folder) as url:
        yield url


def test_chat_completes_what_the_template_writes(chat_url: str) -> None:
    messages: Any = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "u"}]}]
    fields: dict[str, Any] = {"model": "crossover", "seed": 4, "n": 2}
    with OpenAI(base_url=f"{chat_url}/v1", api_key="none", max_retries=0) as client:
        plain = client.completions.create(prompt="s:s\nu:u\na:", max_tokens=6, **fields)
        answer = client.chat.completions.create(
            messages=messages, max_completion_tokens=6, logprobs=True, top_logprobs=2, **fields
        )
        assert [choice.message.content for choice in answer.choices] == [choice.text for choice in plain.choices]
        assert answer.usage == plain.usage
        listed = answer.choices[0].logprobs
        assert listed is not None
        assert listed.content is not None
        assert [len(item.top_logprobs) for item in listed.content] == [2] * len(listed.content)
        texts = ["", ""]
        for chunk in client.chat.completions.create(messages=messages, max_tokens=6, stream=True, **fields):
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        assert texts == [choice.text for choice in plain.choices]
        with pytest.raises(BadRequestError, match="no developer"):
            client.chat.completions.create(messages=[{"role": "developer", "content": "d"}], **fields)
        assert client.models.retrieve("crossover").model_dump()["chat"] is True


def test_a_chat_template_runs_in_a_sandbox(tmp_path: Path) -> None:
    source = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with serving(write_checkpoint(tmp_path / "c", chat_template=source)) as url:
        body = {"model": "crossover", "messages": [{"role": "user", "content": "x"}]}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "unsafe" in answer.json()["error"]["message"]
