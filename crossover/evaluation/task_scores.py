"""Runs a task through a model: requests, responses, per-item scores, means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from crossover.data.task_packs import Document, Pack
from crossover.decoding import Completion, Generation, generate
from crossover.evaluation.continuation_scoring import score_items
from crossover.evaluation.tasks import Continuation, ItemScore, Request, Response, Scored, Task
from crossover.model.transformer import Transformer
from crossover.settings import available_cores


class TaskScores(NamedTuple):
    """Per-item results of a task, in the order of its documents."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    items: tuple[ItemScore, ...]
    draws: int
    """Most masks of any continuation; 1 for AR and for tasks that only write."""
    truncated: int
    """Tokens of context that did not fit and were left out, over all requests."""

    def mean(self, metric: str) -> float:
        """Mean over the items."""
        return sum(item.values[metric] for item in self.items) / len(self.items)


def score_task(
    model: Transformer, task: Task, pack: Pack, documents: Sequence[tuple[int, Document]], *, draws: int
) -> TaskScores:
    """Ask a model all that a task asks, and judge the answers.

    Args:
        model: of either family.
        task: how to ask.
        pack: what the documents are of.
        documents: numbered as in the pack; the numbers name items and seed nothing.
        draws: masks of a continuation under a DLM.
    """
    requests = [list(task.requests(document, pack)) for _, document in documents]
    continuations = [[one for one in item if isinstance(one, Continuation)] for item in requests]
    writing = [[one for one in item if isinstance(one, Generation)] for item in requests]
    likelihoods = list(score_items(model, continuations, draws=draws)) if any(continuations) else []
    completions = generate(model, [fitted(model, one) for item in writing for one in item])
    scored = iter([one for item in likelihoods for one in item.scored])
    written = iter(completions)
    responses = [_in_order(item, scored, written) for item in requests]
    with ThreadPoolExecutor(available_cores() if task.executes else 1) as pool:
        items = pool.map(lambda pair: task.score(pair[0][1], pack, pair[1]), zip(documents, responses, strict=True))
        names = [task.identity(document, number) for number, document in documents]
        return TaskScores(
            ids=tuple(name for name, _ in names),
            clusters=tuple(cluster for _, cluster in names),
            items=tuple(items),
            draws=max((one.draws for item in likelihoods for one in item.scored), default=1),
            truncated=sum(item.truncated for item in likelihoods) + sum(one.truncated_tokens for one in completions),
        )


def fitted(model: Transformer, request: Generation) -> Generation:
    """The request as this model can serve it: half its context at most to be written, and a suffix only where seen."""
    sees_suffix = not model.causal and not model.block_length
    longest = max(1, model.config.max_length // 2)
    return dataclasses.replace(
        request,
        suffix=request.suffix if sees_suffix else None,
        max_tokens=request.max_tokens if model.causal else min(request.max_tokens, longest),
    )


def _in_order(item: Sequence[Request], scored: Iterator[Scored], written: Iterator[Completion]) -> list[Response]:
    return [next(scored) if isinstance(request, Continuation) else next(written) for request in item]
