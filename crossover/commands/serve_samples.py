"""Sample requests to a predictor, with held-out text of its study: a completion, and a hole that a DLM fills."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from crossover.data.task_items import TaskItems
from crossover.errors import CrossoverError
from crossover.storage import ArtifactStore
from crossover.study.study_parts import DOMAIN_CLOZE

SAMPLE_TOKENS = 32
SAMPLES = 4
"""Samples requested for one prompt; the first that is not blank is shown."""
SAMPLE_TEMPERATURE = 0.8
EXAMPLES = 6
"""Passages that the playground offers."""
HOLE_BYTES = 16
PASSES = (1, 4, 8)
"""Forward passes that a hole is requested in, and as many as it has tokens."""
FAST = {"confidence_threshold": 0.9, "cache": "dual"}
SEED = 0
SMALL_PARAMETERS = 10_000_000


class Passage(NamedTuple):
    """A text in two parts; a model is asked to continue the first."""

    prompt: str
    continuation: str


EXAMPLE_PASSAGE = Passage("    def __init__(se", "lf, name):\n        self.name = name\n")
"""For checkpoints without a study at hand."""


def held_out_passages(store: ArtifactStore, count: int = 1) -> list[Passage]:
    """Passages that no run of a study was trained on: items of its domain cloze, running text before other text.

    Args:
        store: of the study.
        count: at most so many, of documents far apart.

    Returns:
        `EXAMPLE_PASSAGE` alone where the study has no such task.
    """
    names = [name for name in store.names(f"tasks/{DOMAIN_CLOZE}") if not name.endswith(".json")]
    if not names:
        return [EXAMPLE_PASSAGE]
    task = TaskItems.open(store.fetch(names[0]))
    decode = task.tokenizer.decode
    passages = [
        _whole_words(decode(list(item["context"])), decode(list(item["options"][item["gold"]])))
        for _, item in task.documents()
    ]
    running = [passage for passage in passages if _is_running_text(passage)] or passages[:1]
    return running[:: -(-len(running) // count)]


def examples(store: ArtifactStore) -> str:
    """The passages that the predictor's page offers, as the JSON of its flag `--examples`."""
    return json.dumps([passage._asdict() for passage in held_out_passages(store, EXAMPLES)])


def _whole_words(prompt: str, continuation: str) -> Passage:
    """The parts of an item, which is cut anywhere, from a sentence's begin on, and of whole words."""
    sentence = re.search(r"[.!?][\"'”’]?\s+", prompt[: len(prompt) // 2])
    begun = re.search(r"\w*$", prompt)
    word = begun[0] if begun and continuation[:1].isalnum() else ""
    continuation = re.sub(r"(?<=\s)\w+$", "", word + continuation).rstrip()  # its last word is cut as well
    whole = prompt[sentence.end() if sentence else 0 : len(prompt) - len(word)]
    return Passage(whole, continuation)


def _is_running_text(passage: Passage) -> bool:
    """Whether both parts hold some words and nothing that a terminal does not show."""
    text = passage.prompt + passage.continuation
    shown = all(character.isprintable() or character == "\n" for character in text) and "\ufffd" not in text
    return shown and len(passage.prompt.split()) >= 4 and len(passage.continuation.split()) >= 2


def show_samples(url: str, passages: Sequence[Passage] = (EXAMPLE_PASSAGE,)) -> bool:
    """Request continuations, and holes where the model can fill them, and print them beside the true text.

    A DLM continues a text from left to right: committing its most confident tokens first fills the text with what is
    likely everywhere, which in code is spaces.

    Args:
        url: base URL of a predictor.
        passages: whose second parts are requested.

    Returns:
        Whether the model can fill holes.

    Raises:
        CrossoverError: the predictor refuses a request.
    """
    card = _call(f"{url}/v1/models")["data"][0]
    half, order = card["max_length"] // 2, {} if card["family"] == "autoregressive" else {"order": "left-to-right"}
    for passage in passages:
        _show_continuation(url, card["family"], passage, half, order)
    if card["infill"]:
        holes = [_hole(url, passage, half) for passage in passages]
        for hole in holes:
            _show_infill(url, hole)
        _show_passes(url, holes)
    if card["parameters"] < SMALL_PARAMETERS:
        print(
            f"  a model of {card['parameters']:,} parameters writes no sensible text yet; what the study compares are "
            "likelihoods"
        )
    return bool(card["infill"])


def _show_continuation(url: str, family: str, passage: Passage, half: int, order: dict[str, str]) -> None:
    """Print the first sample that is not blank, between ⟦ and ⟧."""
    request = {
        "prompt": _bytes(passage.prompt, slice(-half, None)),
        "max_tokens": min(SAMPLE_TOKENS, half),
        "temperature": SAMPLE_TEMPERATURE,
        "n": SAMPLES,
        "seed": SEED,
    }
    response = _call(f"{url}/v1/completions", {"model": "crossover", **request, **order})
    samples = [choice["text"] for choice in response["choices"]]
    number = next((i for i, text in enumerate(samples) if text.strip()), 0)
    print(
        f"  completion ({family}, temperature {SAMPLE_TEMPERATURE:g}, seed {SEED + number}); "
        f"{_source(passage)} has {passage.continuation!r}"
    )
    _show_text(f"{request['prompt']}⟦{readable(samples[number])}⟧")


class _Hole(NamedTuple):
    """A text with a hole."""

    before: str
    truth: str
    after: str
    tokens: int
    """Of the truth by itself, as the model's tokenizer counts them."""
    source: str
    """What the text is, in words."""

    def request(self, fields: dict[str, Any]) -> dict[str, Any]:
        parts = [self.before, {"hole": self.tokens}, self.after]
        return {"model": "crossover", "parts": parts, "temperature": 0, "seed": SEED} | fields


def _hole(url: str, passage: Passage, half: int) -> _Hole:
    """The first part of a passage's continuation, with text of the passage around it that the context holds."""
    size = min(HOLE_BYTES, half // 2)
    truth = _bytes(passage.continuation, slice(size))
    after = _bytes(passage.continuation[len(truth) :], slice(half // 2))
    counted = _call(f"{url}/v1/completions", {"model": "crossover", "prompt": truth, "max_tokens": 1, "seed": SEED})
    before = _bytes(passage.prompt, slice(-half, None))
    return _Hole(before, truth, after, counted["usage"]["prompt_tokens"], _source(passage))


def _source(passage: Passage) -> str:
    """What a passage is, in words."""
    return "the fixed snippet (no study is at hand)" if passage == EXAMPLE_PASSAGE else "the held-out text"


def _bytes(text: str, part: slice) -> str:
    """So many bytes of a text, which are no more tokens, without halves of characters."""
    return text.encode()[part].decode(errors="ignore")


def _show_infill(url: str, hole: _Hole) -> None:
    choice = _call(f"{url}/v1/infill", hole.request({}))["choices"][0]
    print(f"  infill (temperature 0); {hole.source} has {hole.truth!r}")
    _show_text(f"{hole.before}⟦{readable(choice['holes'][0]['text'])}⟧{hole.after}")


def _show_passes(url: str, holes: Sequence[_Hole]) -> None:
    """The same holes in ever more forward passes, and by confidence: what they cost, and what one gains."""
    print(f"  the same holes in so many forward passes each, with the share of characters as in {holes[0].source}:")
    size = max(hole.tokens for hole in holes)
    settings: list[dict[str, Any]] = [{"steps": steps} for steps in (*(p for p in PASSES if p < size), 0)]
    for fields in (*settings, FAST):
        began = time.perf_counter()
        answers = [_call(f"{url}/v1/infill", hole.request(fields)) for hole in holes]
        milliseconds = 1000 * (time.perf_counter() - began) / len(holes)
        passes = sum(answer["usage"]["forward_passes"] for answer in answers) / len(holes)
        pairs = [
            (written, true)
            for answer, hole in zip(answers, holes, strict=True)
            for written, true in zip_longest(answer["choices"][0]["holes"][0]["text"], hole.truth)
        ]
        equal = sum(written == true for written, true in pairs) / len(pairs)
        name = "" if "steps" in fields else ", ".join(f"{field} {value}" for field, value in fields.items())
        print(f"    {passes:>5.1f} passes, {milliseconds:>5.0f} ms: {equal:>4.0%} {name}".rstrip())


def _show_text(text: str) -> None:
    for line in text.rstrip("\n").split("\n"):
        print(f"    | {line}")


def readable(text: str) -> str:
    """Generated text for a terminal: control characters escaped, and a blank text quoted so that it can be seen."""
    if not text.strip():
        return repr(text)
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310 - our own server on loopback
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - our own server on loopback
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        raise CrossoverError(f"the predictor answers HTTP {error.code}: {error.read().decode()}") from error
    return answer
