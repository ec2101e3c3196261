"""Sample requests to a predictor, with held-out text of its study: a completion, and a hole that a DLM fills."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from crossover.data import tokenizer
from crossover.data.task_items import TaskItems
from crossover.files import write_json
from crossover.storage import ArtifactStore
from crossover.study.study_parts import DOMAIN_CLOZE

SAMPLE_TOKENS = 32
SAMPLES = 4
"""Samples requested for one prompt; the first that is not blank is shown."""
SAMPLE_TEMPERATURE = 0.8
EXAMPLES = 6
"""Passages that the playground offers."""
HOLE_TOKENS = 2
PASSES = (1, 4, 16)
"""Forward passes that one continuation is requested in, and as many as it has tokens."""
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
    items = TaskItems.open(store.fetch(names[0])).documents()
    passages = [
        _whole_words(tokenizer.decode(list(item["context"])), tokenizer.decode(list(item["options"][item["gold"]])))
        for _, item in items
    ]
    running = [passage for passage in passages if _is_running_text(passage)] or passages[:1]
    return running[:: -(-len(running) // count)]


def write_examples(path: Path, store: ArtifactStore) -> None:
    """Write passages to the file that the predictor's `--examples` reads."""
    write_json(path, [passage._asdict() for passage in held_out_passages(store, EXAMPLES)])


def _whole_words(prompt: str, continuation: str) -> Passage:
    """The parts of an item, which is cut anywhere, from a sentence's begin and with a word's begin between them."""
    sentence = re.search(r"[.!?][\"'”’]?\s+", prompt[: len(prompt) // 2])
    begun = re.search(r"\w*$", prompt)
    word = begun[0] if begun and continuation[:1].isalnum() else ""
    whole = prompt[sentence.end() if sentence else 0 : len(prompt) - len(word)]
    return Passage(whole, word + continuation) if whole.strip() else Passage(prompt, continuation)


def _is_running_text(passage: Passage) -> bool:
    """Whether both parts hold some words and nothing that a terminal does not show."""
    text = passage.prompt + passage.continuation
    shown = all(character.isprintable() or character == "\n" for character in text) and "\ufffd" not in text
    return shown and len(passage.prompt.split()) >= 4 and len(passage.continuation.split()) >= 2


def show_samples(url: str, passage: Passage = EXAMPLE_PASSAGE) -> bool:
    """Request a completion, and an infilled hole where the model can do it, and print both beside the true text.

    A DLM writes the completion left to right, one token a forward pass: committing its most confident tokens first
    fills the text with what is likely everywhere, which in code is spaces.

    Args:
        url: base URL of a predictor.
        passage: whose second part is requested.

    Returns:
        Whether the model can fill holes.
    """
    card = _call(f"{url}/v1/models")["data"][0]
    length = card["max_length"]
    request = {
        "prompt": passage.prompt[-(length // 2) :],
        "max_tokens": min(SAMPLE_TOKENS, length // 2),
        "temperature": SAMPLE_TEMPERATURE,
        "n": SAMPLES,
    }
    if card["family"] != "autoregressive":
        request["block_length"] = 1
    _show(url, request, card["family"], passage.continuation)
    if card["infill"]:
        hole, suffix = passage.continuation[:HOLE_TOKENS], passage.continuation[HOLE_TOKENS:][: length // 4]
        prompt = passage.prompt[-(length // 4) :]
        request = {"prompt": prompt, "suffix": suffix, "max_tokens": HOLE_TOKENS, "temperature": 0}
        _show(url, request, card["family"], hole)
        _show_passes(url, prompt, passage.continuation[: length // 4])
    if card["parameters"] < SMALL_PARAMETERS:
        print(
            f"  a model of {card['parameters']:,} parameters writes no sensible text yet; what the study compares are "
            "likelihoods"
        )
    return bool(card["infill"])


def _show(url: str, request: dict[str, Any], family: str, truth: str) -> None:
    """Send one request and print its first sample that is not blank, between ⟦ and ⟧."""
    response = _call(f"{url}/v1/completions", {"model": "crossover", **request})
    samples = [choice["text"] for choice in response["choices"]]
    number = next((i for i, text in enumerate(samples) if text.strip()), 0)
    kind = "infill" if "suffix" in request else "completion"
    which = f"sample {number + 1} of {len(samples)}, " if len(samples) > 1 else ""
    passes = response["usage"]["forward_passes"]
    print(
        f"  {kind} ({family}, temperature {request['temperature']:g}): {which}{passes} forward passes; "
        f"the held-out text has {truth!r}"
    )
    for line in f"{request['prompt']}⟦{readable(samples[number])}⟧{request.get('suffix', '')}".rstrip("\n").split("\n"):
        print(f"    | {line}")


def _show_passes(url: str, prompt: str, truth: str) -> None:
    """One continuation in 1, 4 and 16 forward passes and in one a token: what a DLM gains by more of them."""
    size = len(truth.encode())
    print("  a continuation in so many forward passes, the most confident tokens first (temperature 0):")
    for steps in sorted({steps for steps in PASSES if steps < size} | {size}):
        request = {"prompt": prompt, "max_tokens": size, "temperature": 0, "steps": steps}
        response = _call(f"{url}/v1/completions", {"model": "crossover", **request})
        text = response["choices"][0]["text"]
        equal = sum(written == true for written, true in zip(text, truth, strict=False))
        passes, shown = response["usage"]["forward_passes"], readable(text).replace("\n", "\\n")
        print(f"    {passes:>3}: {equal} of {len(truth)} characters as in the held-out text: ⟦{shown}⟧")


def readable(text: str) -> str:
    """Generated text for a terminal: control characters escaped, and a blank text quoted so that it can be seen."""
    if not text.strip():
        return repr(text)
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - our own server on loopback
        answer: dict[str, Any] = json.load(response)
    return answer
