"""The diffusion rows of `benchmarks.serving`: what caches and the confidence threshold gain, and what they lose.

Every passage of held-out text has holes of a word's length, filled all at once; and is continued. The plain sampler
commits one token in each forward pass and computes every position in every pass.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving_peers import Measured, engine_answers, timed
from crossover.data.task_items import TaskItems
from crossover.decoding.engine import Engine
from crossover.decoding.generation_request import Completion, Generation, Hole, Infilling, Text
from crossover.storage import open_store
from crossover.study.study_parts import DOMAIN_CLOZE
from crossover.tokenization.tokenizer import BOS

PLAIN = "plain: one token a pass, exact"
BLOCK, SMALL_BLOCK = 32, 8
THRESHOLD, LOW_THRESHOLD = 0.9, 0.4
SETTINGS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    f"blocks of {BLOCK}": {"block_length": BLOCK},
    f"prefix cache, blocks of {BLOCK}": {"block_length": BLOCK, "cache": "prefix"},
    f"dual cache, blocks of {BLOCK}": {"block_length": BLOCK, "cache": "dual"},
    f"threshold {THRESHOLD:g}": {"confidence_threshold": THRESHOLD},
    f"dual cache, blocks of {BLOCK}, threshold {THRESHOLD:g}": {
        "block_length": BLOCK,
        "cache": "dual",
        "confidence_threshold": THRESHOLD,
    },
    f"dual cache, blocks of {SMALL_BLOCK}, threshold {THRESHOLD:g}": {
        "block_length": SMALL_BLOCK,
        "cache": "dual",
        "confidence_threshold": THRESHOLD,
    },
    f"dual cache, blocks of {BLOCK}, threshold {LOW_THRESHOLD:g}": {
        "block_length": BLOCK,
        "cache": "dual",
        "confidence_threshold": LOW_THRESHOLD,
    },
}
BATCHED = 8
HOLE, GAP = 4, 12
"""Bytes of a hole, and of the text between two of them."""


@dataclass(frozen=True)
class Passage:
    """A passage as parts with holes, and what they truly hold."""

    infilling: Infilling
    truth: tuple[tuple[int, ...], ...]


def held_out(workspace: str, count: int, length: int) -> list[bytes]:
    """Passages of a study that no run was trained on: of its domain cloze, at most so many of this length."""
    store = open_store(workspace)
    names = [name for name in store.names(f"tasks/{DOMAIN_CLOZE}") if not name.endswith(".json")]
    items = TaskItems.open(store.fetch(names[0])).documents()
    texts = [bytes((*item["context"], *item["options"][item["gold"]])) for _, item in items]
    return [text[-length:] for text in texts if len(text) >= length][:count]


def with_holes(text: bytes, fields: dict[str, Any]) -> Passage:
    """A hole after every so many bytes."""
    parts: list[Text | Hole] = []
    truth = []
    for start in range(0, len(text), GAP + HOLE):
        parts.append(tuple(text[start : start + GAP]))
        hole = tuple(text[start + GAP : start + GAP + HOLE])
        if hole:
            parts.append(Hole(len(hole)))
            truth.append(hole)
    return Passage(Infilling(parts=tuple(part for part in parts if part), ignore_eos=True, **fields), tuple(truth))


def continued(text: bytes, tokens: int, fields: dict[str, Any]) -> Generation:
    """A passage without its last tokens."""
    return Generation(prompt=tuple(text[:-tokens]), max_tokens=tokens, ignore_eos=True, temperature=0.0, **fields)


@dataclass
class Row:
    """A setting's figures over all passages."""

    measured: list[Measured]
    answers: list[Completion]


def measure(engine: Engine, requests: dict[str, list[Any]], repeats: int) -> dict[str, Row]:
    """Every setting in turn, the round repeated; and the last one with several requests at once."""
    concurrency = {name: 1 for name in requests}
    last = list(requests)[-1]
    requests = requests | {f"{last}, {BATCHED} at once": requests[last]}
    concurrency[list(requests)[-1]] = BATCHED
    rows = {name: Row([], []) for name in requests}
    engine_answers(engine, [asked[0] for asked in requests.values()])  # what happens once is in no round
    for _ in range(repeats):
        for name, asked in requests.items():
            row = rows[name]

            def work(asked: list[Any] = asked, row: Row = row, at_once: int = concurrency[name]) -> int:
                row.answers = engine_answers(engine, asked, at_once)
                return sum(len(answer.tokens) for answer in row.answers)

            row.measured.append(timed(work))
    return rows


def table(
    rows: dict[str, Row], truth: Sequence[Sequence[tuple[int, ...]]], *, by_hole: bool
) -> tuple[list[str], list[list[str]]]:
    """Head and lines: speed beside the plain sampler's, agreement with it and with the true text.

    Args:
        rows: by setting.
        truth: of each passage, what its holes hold.
        by_hole: the loss is of holes that are wholly as in the text; else of tokens.
    """
    head = [
        "setting",
        "tokens/s",
        "x plain",
        "passes a token",
        "as plain",
        "tokens as in the text",
        "holes as in the text",
    ]
    head += [f"loss of {'holes' if by_hole else 'tokens'}, points (standard error)"]
    plain = rows[PLAIN]
    base = statistics.median(m.rate for m in plain.measured)
    lines = []
    for name, row in rows.items():
        rate = statistics.median(m.rate for m in row.measured)
        passes = sum(a.forward_passes for a in row.answers) / sum(len(a.tokens) for a in row.answers)
        tokens, exact = _scores(row.answers, truth)
        loss = 100 * (_scores(plain.answers, truth)[by_hole] - (tokens, exact)[by_hole])
        error = loss.std(ddof=1) / np.sqrt(len(loss)) if len(loss) > 1 else float("nan")
        same = np.mean([x == y for a, b in zip(row.answers, plain.answers, strict=True) for x, y in _pairs(a, b)])
        lines.append([name, f"{rate:,.0f}", f"{rate / base:.1f}", f"{passes:.2f}", f"{same:.1%}"])
        lines[-1] += [f"{tokens.mean():.1%}", f"{exact.mean():.1%}", f"{loss.mean():+.2f} ({error:.2f})"]
    return head, lines


def _pairs(one: Completion, other: Completion) -> list[tuple[int, int]]:
    return list(zip(one.tokens, other.tokens, strict=True))


def _scores(
    answers: Sequence[Completion], truth: Sequence[Sequence[tuple[int, ...]]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of a passage's tokens and of its holes that are as in the text, one for each passage."""
    tokens, exact = [], []
    for answer, holes in zip(answers, truth, strict=True):
        made = iter(answer.tokens)
        filled = [tuple(next(made) for _ in hole) for hole in holes]
        equal = [a == b for one, hole in zip(filled, holes, strict=True) for a, b in zip(one, hole, strict=True)]
        tokens.append(np.mean(equal))
        exact.append(np.mean([one == hole for one, hole in zip(filled, holes, strict=True)]))
    return np.array(tokens), np.array(exact)


def random_text(count: int, length: int) -> list[bytes]:
    """Letters and spaces, for random weights, whose figures of quality say nothing."""
    draw = np.random.default_rng(0)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz      ", dtype=np.uint8)
    return [bytes(draw.choice(letters, length)) for _ in range(count)]


def tables(
    engine: Engine, texts: list[bytes], tokens: int, repeats: int
) -> list[tuple[str, list[str], list[list[str]]]]:
    """Name, head and lines for holes and for a continuation."""
    made = []
    filled = {name: [with_holes(text, fields) for text in texts] for name, fields in SETTINGS.items()}
    rows = measure(engine, {name: [p.infilling for p in passages] for name, passages in filled.items()}, repeats)
    made.append((f"holes of {HOLE} tokens", *table(rows, [p.truth for p in filled[PLAIN]], by_hole=True)))
    asked = {name: [continued(text, tokens, fields) for text in texts] for name, fields in SETTINGS.items()}
    rows = measure(engine, asked, repeats)
    truth = [(tuple(text[-tokens:]),) for text in texts]
    made.append((f"continuations of {tokens} tokens", *table(rows, truth, by_hole=False)))
    return made


def texts_for(workspace: Path | None, count: int, length: int) -> list[bytes]:
    """Held-out text of the workspace, or random text without one."""
    texts = held_out(str(workspace), count, length) if workspace else random_text(count, length)
    assert all(max(text, default=0) < BOS for text in texts)
    return texts
