"""Evaluates a model on a task: requests, responses, per-item scores, means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from crossover.data.task_packs import Document, Pack
from crossover.decoding import Completion, Generation
from crossover.decoding.generate_text import generate
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
    """Largest number of masks of any continuation; 1 for AR and for tasks that only generate."""
    truncated: int
    """Tokens of context that did not fit into the model and were cut, over all requests."""

    def mean(self, metric: str) -> float:
        """Mean of a metric over the items."""
        return sum(item.values[metric] for item in self.items) / len(self.items)


def score_task(
    model: Transformer, task: Task, pack: Pack, documents: Sequence[tuple[int, Document]], *, draws: int
) -> TaskScores:
    """Send a task's requests to a model and score the responses.

    Args:
        model: of either family.
        task: the format of the documents.
        pack: the pack that the documents are from.
        documents: with their number within the pack, which names items without an id.
        draws: masks per continuation under a DLM.
    """
    requests = [list(task.requests(document, pack, model.tokenizer)) for _, document in documents]
    continuations = [[request for request in item if isinstance(request, Continuation)] for item in requests]
    generations = [request for item in requests for request in item if isinstance(request, Generation)]
    likelihoods = list(score_items(model, continuations, draws=draws)) if any(continuations) else []
    completions = generate(model, [limit_to_model(model, request) for request in generations])
    scored = iter([score for item in likelihoods for score in item.scored])
    generated = iter(completions)
    responses = [_in_order(item, scored, generated) for item in requests]
    with ThreadPoolExecutor(available_cores() if task.executes else 1) as pool:
        items = pool.map(lambda pair: task.score(pair[0][1], pack, pair[1]), zip(documents, responses, strict=True))
        names = [task.identity(document, number) for number, document in documents]
        return TaskScores(
            ids=tuple(name for name, _ in names),
            clusters=tuple(cluster for _, cluster in names),
            items=tuple(items),
            draws=max((score.draws for item in likelihoods for score in item.scored), default=1),
            truncated=sum(item.truncated for item in likelihoods)
            + sum(completion.truncated_tokens for completion in completions),
        )


def limit_to_model(model: Transformer, request: Generation) -> Generation:
    """The request as the model can serve it.

    AR and block diffusion models cannot attend to a suffix, so it is dropped; a DLM generates at most half its context.
    """
    sees_suffix = not model.causal and not model.block_length
    longest = max(1, model.config.max_length // 2)
    return dataclasses.replace(
        request,
        suffix=request.suffix if sees_suffix else None,
        max_tokens=request.max_tokens if model.causal else min(request.max_tokens, longest),
    )


def _in_order(item: Sequence[Request], scored: Iterator[Scored], generated: Iterator[Completion]) -> list[Response]:
    """Responses in the order of an item's requests."""
    return [next(scored) if isinstance(request, Continuation) else next(generated) for request in item]
