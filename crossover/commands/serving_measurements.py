"""Measures the predictors of an AR model and a diffusion model beside each other, at rising concurrency."""

from __future__ import annotations

import json
import math
import os
import platform
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from crossover.analysis.serving_crossing import Served, ServedRate, ServingComparison, serving_crossing
from crossover.commands.serve_command import serving
from crossover.commands.serving_load import LoadResult, run_load
from crossover.cpu_quota import cpu_quota
from crossover.errors import CrossoverError
from crossover.stages.stage_manifests import Candidate

LEAST_REQUESTS = 8
"""Of one measurement."""
AGREEMENT_PROMPTS = 8
"""Whose greedy answers are compared with those of exact decoding."""
_GREEDY = {"temperature": 0.0, "ignore_eos": True}
_SIDES = ("baseline", "candidate", "exact")


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    """What is measured.

    Args:
        concurrency: clients at once, rising.
        repeats: of each concurrency, the sides in turn.
        tokens: of an answer; at most half of the context.
        setting: of the diffusion model's decoder, as fields of a request.
    """

    concurrency: tuple[int, ...]
    repeats: int
    tokens: int
    setting: Mapping[str, Any]


@dataclass(frozen=True)
class _Side:
    url: str
    fields: Mapping[str, Any]


def measure_crossover(
    baseline: tuple[Candidate, Path],
    candidate: tuple[Candidate, Path],
    prompts: Sequence[Sequence[int]],
    plan: ServingPlan,
    report: Callable[[str], object],
) -> ServingComparison:
    """Start both predictors and measure them.

    Args:
        baseline: an autoregressive checkpoint and its folder.
        candidate: of a diffusion model.
        prompts: held-out token ids; the last ones of each are the prompt.
        plan: what is measured.
        report: called with a line of progress.

    Raises:
        CrossoverError: a predictor did not start, a request failed, or an answer had another length.
    """
    exact = {name: value for name, value in plan.setting.items() if name == "block_length"}
    with serving(baseline[1]) as ar, serving(candidate[1]) as dlm:
        sides = {"baseline": _Side(ar, {}), "candidate": _Side(dlm, plan.setting), "exact": _Side(dlm, exact)}
        tokens = min(plan.tokens, _context(ar) // 2, _context(dlm) // 2)
        texts = [list(map(int, prompt[-tokens:])) for prompt in prompts]
        rates = _rates(sides, texts, tokens, plan, report)
        agreement = _agreement(sides["candidate"], sides["exact"], texts[:AGREEMENT_PROMPTS], tokens)
    served = {
        name: _served(*chosen, sides[name].fields, rates[name])
        for name, chosen in zip(_SIDES, ((baseline[0],), (candidate[0],), (candidate[0],)), strict=True)
    }
    return ServingComparison(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=f"CPU, {platform.machine()}",
        cores=min(float(len(os.sched_getaffinity(0))), cpu_quota()),
        prompt_tokens=tokens,
        answer_tokens=tokens,
        **served,
        agreement=agreement,
        crossing=serving_crossing(rates["baseline"], rates["candidate"]),
        exact_crossing=serving_crossing(rates["baseline"], rates["exact"]),
    )


def _rates(
    sides: Mapping[str, _Side],
    prompts: Sequence[list[int]],
    tokens: int,
    plan: ServingPlan,
    report: Callable[[str], object],
) -> dict[str, tuple[ServedRate, ...]]:
    """Each side at each concurrency; within a repeat the sides have the same prompts, in an order that turns."""
    supply = cycle(prompts)
    for side in sides.values():  # caches and compiled code are there before anything is timed
        _load(side, list(islice(supply, plan.concurrency[-1])), tokens, plan.concurrency[-1])
    results: dict[tuple[str, int], list[LoadResult]] = {}
    for repeat in range(plan.repeats):
        for concurrency in plan.concurrency:
            texts = list(islice(supply, max(LEAST_REQUESTS, 2 * concurrency)))
            for name in _turned(list(sides), repeat):
                result = _load(sides[name], texts, tokens, concurrency)
                results.setdefault((name, concurrency), []).append(result)
            speeds = ", ".join(f"{n} {results[n, concurrency][-1].tokens_per_second:.4g}" for n in sides)
            report(f"repeat {repeat + 1} of {plan.repeats}, {concurrency} at once, tokens/s: {speeds}")
    return {name: tuple(_rate(c, results[name, c]) for c in plan.concurrency) for name in sides}


def _turned(names: list[str], by: int) -> Iterator[str]:
    return islice(cycle(names), by, by + len(names))


def _load(side: _Side, prompts: Sequence[list[int]], tokens: int, concurrency: int) -> LoadResult:
    bodies = [_body(side, prompt, tokens) for prompt in prompts]
    result = run_load(side.url, bodies, concurrency=concurrency)
    if result.errors:
        raise CrossoverError(f"{result.errors} of {result.requests} requests failed: {result.first_error}")
    if result.tokens != tokens * len(bodies):
        raise CrossoverError(f"{len(bodies)} answers of {tokens} tokens had {result.tokens} tokens together")
    return result


def _body(side: _Side, prompt: list[int], tokens: int) -> dict[str, Any]:
    return {"model": "crossover", "prompt": prompt, "max_tokens": tokens, **_GREEDY, **side.fields}


def _rate(concurrency: int, results: Sequence[LoadResult]) -> ServedRate:
    latencies = ("first_token_p50", "first_token_p99", "total_p50", "total_p99")
    return ServedRate(
        concurrency=concurrency,
        requests=results[0].requests,
        tokens_per_second=tuple(result.tokens_per_second for result in results),
        **{name: float(np.median([getattr(result, name) for result in results])) for name in latencies},
    )


def _served(chosen: Candidate, setting: Mapping[str, Any], rates: tuple[ServedRate, ...]) -> Served:
    return Served(
        arm=chosen.run.arm,
        run=chosen.run.key,
        run_digest=chosen.run_digest,
        step=chosen.checkpoint.step,
        checkpoint_digest=chosen.checkpoint.digest,
        setting=dict(setting),
        metric=chosen.metric,
        quality=chosen.value,
        rates=rates,
    )


def _agreement(candidate: _Side, exact: _Side, prompts: Sequence[list[int]], tokens: int) -> float:
    """Share of equal tokens, position by position, over the answers to some prompts."""
    pairs = [
        pair
        for prompt in prompts
        for pair in zip(*(_answer(side, prompt, tokens) for side in (candidate, exact)), strict=True)
    ]
    return math.fsum(a == b for a, b in pairs) / len(pairs)


def _answer(side: _Side, prompt: list[int], tokens: int) -> list[str]:
    """The tokens of an answer, as the log-probabilities name them."""
    answer = _call(f"{side.url}/v1/completions", _body(side, prompt, tokens) | {"logprobs": 0})
    named: list[str] = answer["choices"][0]["logprobs"]["tokens"]
    return named


def _context(url: str) -> int:
    return int(_call(f"{url}/v1/models")["data"][0]["max_length"])


def _call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310 - our own server on loopback
    with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310 - our own server on loopback
        answer: dict[str, Any] = json.load(response)
    return answer
