"""Evaluate one checkpoint: likelihoods, tasks, per-item scores; and keep the result beside the run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from crossover.data.cloze import read_items
from crossover.data.dataset import CLOZE, Dataset
from crossover.data.task_packs import Pack
from crossover.evaluation.evaluation_records import Evaluation, ItemScores, Measurement
from crossover.evaluation.likelihood import Likelihood, Order, chain_rule_nll, exact_nll, measured_nelbo
from crossover.evaluation.probes import measure_writing
from crossover.evaluation.task_scores import TaskScores, score_task
from crossover.evaluation.tasks import FORMATS, METRICS
from crossover.model.transformer import Transformer
from crossover.study.study_config import DOMAIN_CLOZE, EvaluationConfig
from crossover.training.checkpoint import load_checkpoint

CHAIN_RULES: dict[str, Order] = {
    "chain_rule_bpb": "left-to-right",
    "chain_rule_reversed_bpb": "right-to-left",
    "chain_rule_confidence_bpb": "confidence",
}
"""Metrics of a DLM read token by token; which order is likeliest is not known beforehand."""


class Share(NamedTuple):
    """Which of the costly measurements a checkpoint gets."""

    chain_rule: bool
    """Read a DLM token by token on a subset, and AR on the same subset."""
    writing: bool
    """Whatever models must write for: tasks, samples, passages by heart."""


def evaluate_checkpoint(
    folder: Path,
    digest: str,
    dataset: Dataset,
    config: EvaluationConfig,
    share: Share,
    *,
    unique_tokens: int,
    device: str = "cpu",
) -> Evaluation:
    """Measure one checkpoint.

    Args:
        folder: the checkpoint.
        digest: its digest, recorded with the result.
        dataset: held-out examples and tasks.
        config: what to measure, and how finely.
        share: which of the costly measurements to take.
        unique_tokens: the budget that the model was trained on.
        device: where to compute.

    Raises:
        CheckpointError: torn or tampered with.
    """
    model, info = load_checkpoint(folder, device=device)
    measurements = _likelihoods(model, dataset, config, with_chain_rule=share.chain_rule)
    items = []
    for name, scores in _tasks(model, dataset, config, share):
        items.append(_item_scores(name, scores))
        measurements += _means(name, scores, exact=model.causal)
    if share.writing:
        measurements += measure_writing(model, dataset.train(unique_tokens), dataset.validation(), config)
    return Evaluation(
        checkpoint=digest,
        dataset=dataset.manifest.digest,
        step=info.step,
        tokens=info.tokens,
        flops=info.flops,
        seconds=info.seconds,
        measurements=tuple(measurements),
        items=tuple(items),
    )


def _likelihoods(
    model: Transformer, dataset: Dataset, config: EvaluationConfig, *, with_chain_rule: bool
) -> list[Measurement]:
    tokens_NL = dataset.validation()
    nats_per_bit = dataset.manifest.bytes_per_token * math.log(2)
    if model.causal:
        whole = exact_nll(model, tokens_NL)
    else:
        whole = measured_nelbo(model, tokens_NL, draws=config.nelbo_draws, wanted_stderr=config.nelbo_stderr)
    found = [
        _loss("validation_nll", "nats/token", whole, 1.0),
        _loss("validation_bpb", "bits/byte", whole, nats_per_bit),
    ]
    if with_chain_rule and config.chain_rule_examples:
        subset = tokens_NL[: config.chain_rule_examples]
        if model.causal:
            found.append(_loss("chain_rule_bpb", "bits/byte", exact_nll(model, subset), nats_per_bit))
        else:
            found += [
                _loss(name, "bits/byte", chain_rule_nll(model, subset, order), nats_per_bit)
                for name, order in CHAIN_RULES.items()
            ]
    return found


def _tasks(
    model: Transformer, dataset: Dataset, config: EvaluationConfig, share: Share
) -> Iterator[tuple[str, TaskScores]]:
    """Every task that this checkpoint is asked, and its scores."""
    if DOMAIN_CLOZE in config.tasks:
        items = [(n, item.model_dump()) for n, item in enumerate(read_items(dataset.folder / CLOZE))]
        pack = Pack(name=DOMAIN_CLOZE, format="tokens", licence="the corpus's own", file=CLOZE, sha256="0" * 64)
        yield DOMAIN_CLOZE, score_task(model, FORMATS[pack.format], pack, items, draws=config.cloze_draws)
    for file in dataset.manifest.tasks:
        task = FORMATS[file.pack.format]
        if share.writing or not task.generates:
            yield file.name, score_task(model, task, file.pack, dataset.documents(file), draws=config.task_draws)


def _means(name: str, scores: TaskScores, *, exact: bool) -> list[Measurement]:
    """The task's metrics: means over its items."""
    means = []
    for key in scores.items[0].values:
        metric = METRICS[key]
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


def _loss(metric: str, unit: str, value: Likelihood, divisor: float) -> Measurement:
    return Measurement(
        metric=metric,
        value=value.nats_per_token / divisor,
        stderr=value.stderr / divisor,
        unit=unit,
        direction="lower",
        estimator=value.estimator,
        draws=value.draws,
    )
