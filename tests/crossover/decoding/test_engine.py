"""The engine: batches, limits, deadlines, cancellation, and answers that do not depend on any of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from crossover.decoding.ar_sequence import ARSequence
from crossover.decoding.engine import Engine, EngineLimits
from crossover.decoding.engine_events import Canvas, Event, Failed, Finished, Piece
from crossover.decoding.generate_text import generate
from crossover.decoding.generation_request import Completion, Generation, Hole, Infilling
from crossover.errors import (
    CancelledRequestError,
    CrossoverError,
    DeadlineError,
    PromptTooLongError,
    RequestError,
    ServerBusyError,
    ServerStoppingError,
)
from crossover.model.transformer import Transformer
from crossover.tokenization.tokenizer import BOS, EOS
from tests.crossover.decoding.test_inference_model import model_of

WAIT = 120.0
AR, DLM, BLOCK = model_of(causal=True), model_of(causal=False), model_of(causal=False, block=8)
EVERY = pytest.mark.parametrize("model", [AR, DLM, BLOCK], ids=["ar", "dlm", "block"])


class Answer:
    """The events of one request."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._ended = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Finished | Failed):
            self._ended.set()

    def last(self) -> Event:
        assert self._ended.wait(WAIT)
        return self.events[-1]

    def completion(self) -> Completion:
        last = self.last()
        assert isinstance(last, Finished), last
        return last.completion

    def error(self) -> Exception:
        last = self.last()
        assert isinstance(last, Failed), last
        return last.error

    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Piece))


def submit(engine: Engine, request: Generation | Infilling, **options: Any) -> Answer:  # noqa: ANN401 - any option
    answer = Answer()
    engine.submit(request, answer, **options)
    return answer


def requests(count: int, **fields: Any) -> list[Generation]:  # noqa: ANN401 - any field
    return [
        Generation(
            prompt="once upon a time " * (i % 4),
            max_tokens=3 + 5 * (i % 5),
            temperature=float(i % 2),
            seed=i,
            logprobs=2,
            order=("confidence", "random", "entropy")[i % 3],
            block_length=8 * (i % 2),
            cache=("exact", "dual", "prefix")[i % 3],
            confidence_threshold=(0.0, 0.02)[i % 2],
            **fields,
        )
        for i in range(count)
    ]


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    started: list[Engine] = []
    yield started
    for engine in started:
        engine.close()


@EVERY
def test_an_answer_is_the_same_alone_and_among_others(model: Transformer, engines: list[Engine]) -> None:
    """To the bit: tokens and log-probabilities, with other batch sizes, other rows a pass, and prompts seen before."""
    asked = requests(24)
    alone = [generate(model, [request])[0] for request in asked]
    for limits in (EngineLimits(running=24), EngineLimits(running=5, rows=80)):
        engine = Engine(model, limits)
        engines.append(engine)
        for _ in range(2):
            answers = [submit(engine, request) for request in asked]
            for answer, expected in zip(answers, alone, strict=True):
                completion = answer.completion()
                assert completion.tokens == expected.tokens
                assert completion.logprobs == expected.logprobs
                assert answer.text() == completion.text == expected.text


def test_a_prompt_is_read_once_and_reused(engines: list[Engine]) -> None:
    engines.append(Engine(AR))
    prompt = tuple(range(80))
    request = Generation(prompt=prompt, max_tokens=4, temperature=1.0, logprobs=0)
    first, *others = [submit(engines[0], request) for _ in range(3)]
    assert first.completion().cached_tokens == 0
    assert [other.completion().cached_tokens for other in others] == [64, 64]
    assert {tuple(answer.completion().logprobs) for answer in (first, *others)} == {tuple(first.completion().logprobs)}
    changed = submit(engines[0], Generation(prompt=(*prompt[:10], 99, *prompt[11:]), max_tokens=4))
    assert changed.completion().cached_tokens == 0


def test_prompt_logprobs_are_the_likelihood_of_the_prompt(engines: list[Engine]) -> None:
    engines.append(Engine(AR))
    text = "The answer is forty-two. " * 3
    completion = submit(
        engines[0], Generation(prompt=text, max_tokens=0, prompt_logprobs=True, logprobs=1)
    ).completion()
    assert [item.token for item in completion.prompt_logprobs] == list(text.encode())
    assert completion.prompt_logprobs[0].logprob is None
    assert completion.tokens == []
    request = Generation(prompt=(BOS, *text.encode()), max_tokens=3, prompt_logprobs=True, logprobs=1)
    continued = submit(engines[0], request).completion()
    assert [item.token for item in continued.prompt_logprobs] == [BOS, *text.encode()]
    assert continued.prompt_logprobs[2:] == completion.prompt_logprobs[1:]
    assert len(continued.tokens) == len(continued.logprobs) == 3
    greedy = submit(engines[0], Generation(prompt=text[:70], max_tokens=1, logprobs=1)).completion().logprobs[0]
    assert completion.prompt_logprobs[70].top[0] == pytest.approx(greedy.top[0], abs=1e-5)
    with pytest.raises(RequestError) as caught:
        generate(DLM, [Generation(prompt="x", prompt_logprobs=True)])
    assert caught.value.field == "logprobs"


def test_holes_are_filled_between_given_texts(engines: list[Engine]) -> None:
    engines.append(Engine(DLM))
    parts = ("def f(", Hole(3), "):\n    return ", Hole(5), "\n")
    answer = submit(engines[0], Infilling(parts=parts, logprobs=1), canvas=True)
    completion = answer.completion()
    first, second = completion.holes
    assert completion.text == f"def f({first}):\n    return {second}\n"
    assert len(completion.tokens) == len(completion.logprobs) == 8
    canvases = [event for event in answer.events if isinstance(event, Canvas)]
    assert sorted(update.position for canvas in canvases for update in canvas.updates) == list(range(8))
    assert [canvas.forward_passes for canvas in canvases] == list(range(1, 9))
    shown = {update.position: update.text for canvas in canvases for update in canvas.updates}
    assert all(shown[i] == bytes([token]).decode("utf-8", "replace") for i, token in enumerate(completion.tokens))
    for model in (AR, BLOCK):
        with pytest.raises(RequestError, match="cannot attend"):
            generate(model, [Infilling(parts=parts)])


@EVERY
def test_eos_can_be_banned_or_put_off(model: Transformer) -> None:
    """With a bias that makes EOS certain, it comes as soon as it may."""
    fields: dict[str, Any] = {"prompt": "x", "max_tokens": 12, "logit_bias": {EOS: 1e6}}
    lengths = [
        len(generate(model, [Generation(**fields, **extra)])[0].tokens)
        for extra in ({}, {"min_tokens": 5}, {"ignore_eos": True})
    ]
    assert lengths == [0, 5, 12]


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(engines: list[Engine]) -> None:
    engines.append(Engine(AR))
    with pytest.raises(PromptTooLongError, match=r"90 tokens of text and 10 to generate are 100.*context is 96 tokens"):
        submit(engines[0], Generation(prompt="x" * 90, max_tokens=10))
    with pytest.raises(RequestError, match="there is no token 999") as caught:
        submit(engines[0], Generation(prompt=(1, 999)))
    assert caught.value.field == "prompt"
    with pytest.raises(RequestError, match="every token is removed"):
        raise submit(engines[0], Generation(prompt="x", logit_bias=dict.fromkeys(range(258), -100.0))).error()


def slow(engine: Engine) -> Answer:
    """A request that takes hundreds of passes of other work."""
    return submit(engine, Generation(prompt="x", max_tokens=90, ignore_eos=True))


def test_the_queue_is_bounded_and_says_so(engines: list[Engine]) -> None:
    engine = Engine(AR, EngineLimits(running=1, waiting=2))
    engines.append(engine)
    accepted, refused = [], []
    for _ in range(12):
        try:
            accepted.append(slow(engine))
        except ServerBusyError as error:
            refused.append(error)
    assert refused
    assert refused[0].code == "request.queue-full"
    assert all(len(answer.completion().tokens) == 90 for answer in accepted)


def test_deadline_and_cancellation_end_a_request_at_once(engines: list[Engine]) -> None:
    engine = Engine(AR, EngineLimits(running=2))
    engines.append(engine)
    late = submit(engine, Generation(prompt="x", max_tokens=90, ignore_eos=True), deadline=time.monotonic() - 1)
    assert isinstance(late.error(), DeadlineError)
    answer = Answer()
    ticket = engine.submit(Generation(prompt="x", max_tokens=90, ignore_eos=True), answer)
    engine.cancel(ticket)
    assert isinstance(answer.error(), CancelledRequestError)
    assert len(slow(engine).completion().tokens) == 90
    state = engine.state()
    assert (state.running, state.waiting) == (0, 0)


def test_requests_wait_for_memory_and_never_take_more(engines: list[Engine]) -> None:
    """Room for two of three: at no time more is taken, and all are answered."""
    one = AR.config.num_layers * 2 * AR.config.hidden_size * 4 * 92
    engine = Engine(AR, EngineLimits(memory_bytes=int(one * 2.5 / 0.75)))
    engines.append(engine)
    answers = [slow(engine) for _ in range(3)]
    most = 0
    while any(not isinstance(answer.events[-1] if answer.events else None, Finished) for answer in answers):
        most = max(most, engine.state().running)
        time.sleep(0.001)
    assert most == 2
    with pytest.raises(RequestError, match="keys and values of"):
        submit(Engine(AR, EngineLimits(memory_bytes=one // 2)), Generation(prompt="x", max_tokens=90))


def test_a_failed_allocation_is_its_request_s(engines: list[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(AR)
    engines.append(engine)

    def full(_: int) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(engine._inference, "new_cache", full)
        assert isinstance(slow(engine).error(), ServerBusyError)
    assert len(slow(engine).completion().tokens) == 90


def test_a_short_request_does_not_wait_for_a_long_one(engines: list[Engine]) -> None:
    engine = Engine(AR)
    engines.append(engine)
    long = slow(engine)
    short = submit(engine, Generation(prompt="x", max_tokens=2, ignore_eos=True))
    short.completion()
    assert not any(isinstance(event, Finished) for event in long.events)
    long.completion()


def test_draining_finishes_what_was_accepted_and_closing_fails_the_rest() -> None:
    engine = Engine(AR)
    answer = slow(engine)
    engine.drain()
    with pytest.raises(ServerStoppingError):
        slow(engine)
    assert engine.drain(timeout=WAIT)
    assert len(answer.completion().tokens) == 90
    engine.close()
    stopped = Engine(DLM, EngineLimits(running=1))
    answers = [submit(stopped, Generation(prompt="x", max_tokens=90, ignore_eos=True)) for _ in range(4)]
    stopped.close()
    assert isinstance(answers[-1].error(), ServerStoppingError)


def test_other_work_takes_turns_with_decoding(engines: list[Engine]) -> None:
    engine = Engine(AR)
    engines.append(engine)
    items: list[object] = []
    ended = threading.Event()

    def collect(item: object) -> None:
        items.append(item)
        if isinstance(item, StopIteration | CrossoverError):
            ended.set()

    long = slow(engine)
    engine.run(iter(range(3)), collect)
    assert ended.wait(WAIT)
    assert items[:3] == [0, 1, 2]
    assert isinstance(items[3], StopIteration)
    assert len(long.completion().tokens) == 90


def test_a_fault_of_the_forward_pass_reaches_every_caller_and_the_engine_goes_on(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(AR)
    engines.append(engine)

    def broken(_: object) -> None:
        raise RuntimeError("no more memory")

    with monkeypatch.context() as patched:
        patched.setattr(engine._inference, "forward", broken)
        assert "no more memory" in str(slow(engine).error())
    assert len(slow(engine).completion().tokens) == 90


def test_a_fault_of_one_request_is_its_own(engines: list[Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(AR)
    engines.append(engine)
    original = ARSequence.advance

    def faulty(sequence: ARSequence, logits: Any) -> None:  # noqa: ANN401 - as the method has it
        if sequence.request.seed == 13:
            raise IndexError("of one request")
        original(sequence, logits)

    monkeypatch.setattr(ARSequence, "advance", faulty)
    answers = [submit(engine, Generation(prompt="x", max_tokens=9, seed=seed, ignore_eos=True)) for seed in (12, 13)]
    assert len(answers[0].completion().tokens) == 9
    assert isinstance(answers[1].error(), IndexError)


def test_a_stream_has_the_log_probability_of_every_token(engines: list[Engine]) -> None:
    """Also of those that are part of a character, and of bytes that are none."""
    engines.append(Engine(AR))
    answer = submit(engines[0], Generation(prompt="é", max_tokens=60, temperature=1.0, logprobs=0, ignore_eos=True))
    completion = answer.completion()
    streamed = [item for event in answer.events if isinstance(event, Piece) for item in event.logprobs]
    assert streamed == completion.logprobs
    assert len(streamed) == len(completion.tokens) == 60


def test_a_model_that_cannot_be_computed_does_not_warm_up(
    engines: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(AR)
    engines.append(engine)

    def broken(_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(engine._inference, "forward", broken)
    with pytest.raises(RuntimeError, match="no such kernel"):
        engine.warm_up()


def test_a_receiver_that_fails_costs_its_own_request_only(engines: list[Engine]) -> None:
    engine = Engine(AR)
    engines.append(engine)

    def closed(_: Event) -> None:
        raise RuntimeError("the event loop is closed")

    engine.submit(Generation(prompt="x", max_tokens=90, ignore_eos=True), closed)
    engine.run(iter(range(1000)), closed)
    assert len(slow(engine).completion().tokens) == 90
    assert engine.drain(timeout=WAIT)
