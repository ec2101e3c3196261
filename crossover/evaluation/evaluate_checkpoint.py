"""Measure one checkpoint: likelihoods, tasks with their per-item scores, and what models write by themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossover.data.dataset import Dataset
from crossover.data.task_items import TaskItems
from crossover.evaluation.evaluation_records import EvaluationPart, ItemScores, Measurement
from crossover.evaluation.held_out_likelihood import Likelihood, Order, chain_rule_nll, exact_nll, measured_nelbo
from crossover.evaluation.measurement_plan import CHAIN_RULE, LIKELIHOOD, TASK, WRITING, Part
from crossover.evaluation.task_scores import TaskScores, score_task
from crossover.evaluation.tasks import FORMATS
from crossover.evaluation.writing_metrics import measure_writing
from crossover.metric_catalogue import METRICS, TASK_METRICS
from crossover.model.transformer import Transformer
from crossover.study.study_config import Cell
from crossover.study.study_parts import DOMAIN_CLOZE, EvaluationConfig
from crossover.training.checkpoint import load_checkpoint

CHAIN_RULES: dict[str, Order] = {
    "chain_rule_bpb": "left-to-right",
    "chain_rule_reversed_bpb": "right-to-left",
    "chain_rule_confidence_bpb": "confidence",
}
"""Metrics of a DLM read token by token; which order is likeliest is not known beforehand."""


def evaluate_checkpoint(
    folder: Path,
    digest: str,
    parts: Sequence[Part],
    dataset: Dataset,
    tasks: Mapping[str, TaskItems],
    config: EvaluationConfig,
    *,
    cell: Cell,
    device: str = "cpu",
) -> list[EvaluationPart]:
    """Measure some parts of the evaluation of one checkpoint.

    Args:
        folder: the checkpoint.
        digest: its digest, recorded with the result.
        parts: what to measure.
        dataset: held-out examples.
        tasks: items by name of task.
        config: how finely to measure.
        cell: whose training examples the model was trained on.
        device: where to compute.

    Raises:
        CheckpointError: torn or tampered with.
    """
    model, info = load_checkpoint(folder, device=device)
    results = []
    for part in parts:
        items: tuple[ItemScores, ...] = ()
        if part.name == LIKELIHOOD:
            measurements = _likelihoods(model, dataset, config)
        elif part.name == CHAIN_RULE:
            measurements = _chain_rules(model, dataset, config)
        elif part.name == WRITING:
            examples = dataset.train(cell.unique_tokens, info.seed, cell.quality)
            measurements = measure_writing(model, examples, dataset.validation(), config)
        else:
            name = part.name.removeprefix(TASK)
            scores = _task_scores(model, tasks[name], config)
            measurements, items = _means(name, scores, exact=model.causal), (_item_scores(name, scores),)
        results.append(
            EvaluationPart(
                digest=part.digest,
                part=part.name,
                checkpoint=digest,
                step=info.step,
                tokens=info.tokens,
                flops=info.flops,
                seconds=info.seconds,
                measurements=tuple(measurements),
                items=items,
            )
        )
    return results


def _likelihoods(model: Transformer, dataset: Dataset, config: EvaluationConfig) -> list[Measurement]:
    tokens_NL = dataset.validation()
    if model.causal:
        likelihood = exact_nll(model, tokens_NL)
    else:
        likelihood = measured_nelbo(model, tokens_NL, draws=config.nelbo_draws, wanted_stderr=config.nelbo_stderr)
    return [
        _loss("validation_nll", likelihood, 1.0),
        _loss("validation_bpb", likelihood, _nats_per_bit(dataset, tokens_NL)),
    ]


def _chain_rules(model: Transformer, dataset: Dataset, config: EvaluationConfig) -> list[Measurement]:
    """A DLM read token by token on a subset, and AR on the same subset."""
    subset = dataset.validation()[: config.chain_rule_examples]
    divisor = _nats_per_bit(dataset, subset)
    if model.causal:
        return [_loss("chain_rule_bpb", exact_nll(model, subset), divisor)]
    return [_loss(name, chain_rule_nll(model, subset, order), divisor) for name, order in CHAIN_RULES.items()]


def _nats_per_bit(dataset: Dataset, tokens_NL: NDArray[np.unsignedinteger]) -> float:
    """What nats a token of these examples are divided by to give bits a byte of their text; EOS has no byte."""
    return dataset.tokenizer.count_bytes(tokens_NL) / tokens_NL.size * math.log(2)


def _task_scores(model: Transformer, task: TaskItems, config: EvaluationConfig) -> TaskScores:
    pack = task.manifest.pack
    draws = config.cloze_draws if task.manifest.name == DOMAIN_CLOZE else config.task_draws
    return score_task(model, FORMATS[pack.format], pack, task.documents(), draws=draws)


def _means(name: str, scores: TaskScores, *, exact: bool) -> list[Measurement]:
    """The task's metrics: means over its items."""
    means = []
    for key in scores.items[0].values:
        metric = TASK_METRICS[key]
        means.append(
            Measurement(
                metric=f"{name}_{key}",
                value=scores.mean(key),
                stderr=None,
                unit=metric.unit,
                direction=metric.direction,
                estimator=("exact" if exact else "upper bound") if metric.by_likelihood else "none",
                draws=scores.draws if metric.by_likelihood else 1,
            )
        )
    return means


def _item_scores(name: str, scores: TaskScores) -> ItemScores:
    return ItemScores(
        task=name,
        ids=scores.ids,
        clusters=scores.clusters,
        correct=tuple(item.correct for item in scores.items),
        margins=tuple(item.values["margin"] for item in scores.items if "margin" in item.values),
        option_nll=tuple(item.option_nll for item in scores.items if item.option_nll),
        truncated=scores.truncated,
    )


def _loss(name: str, likelihood: Likelihood, divisor: float) -> Measurement:
    metric = METRICS[name]
    return Measurement(
        metric=name,
        value=likelihood.nats_per_token / divisor,
        stderr=likelihood.stderr / divisor,
        unit=metric.unit,
        direction="lower",
        estimator=likelihood.estimator,
        draws=likelihood.draws,
    )
