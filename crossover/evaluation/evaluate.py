"""Evaluate one checkpoint: likelihoods, tasks, per-item scores; and keep the result beside the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crossover.data.cloze import read_items
from crossover.data.dataset import CLOZE, Dataset
from crossover.errors import WorkspaceError
from crossover.evaluation.cloze import score_cloze
from crossover.evaluation.likelihood import Likelihood, chain_rule_nll, exact_nll, frozen_masks, nelbo
from crossover.files import read_json, write_json
from crossover.model.transformer import Transformer
from crossover.study import EvaluationConfig
from crossover.training.checkpoint import load_checkpoint


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measurement(_Record):
    """One value of one metric at one checkpoint."""

    metric: str
    value: float
    stderr: float | None
    unit: str
    direction: Literal["lower", "higher"]
    estimator: str
    draws: int


class ItemScores(_Record):
    """Per-item scores of a task: what paired tests are made of."""

    task: str
    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    correct: tuple[float, ...]
    margins: tuple[float, ...]
    option_nll: tuple[tuple[float, ...], ...] = Field(description="Nats per option token, one row an item.")


class Evaluation(_Record):
    """All that was measured at one checkpoint."""

    kind: Literal["evaluation"] = "evaluation"
    checkpoint: str = Field(description="Digest of the checkpoint.")
    dataset: str = Field(description="Digest of the dataset.")
    step: int
    tokens: int
    flops: float
    seconds: float
    measurements: tuple[Measurement, ...]
    items: tuple[ItemScores, ...]


def evaluate_checkpoint(
    folder: Path, digest: str, dataset: Dataset, config: EvaluationConfig, *, with_chain_rule: bool, device: str = "cpu"
) -> Evaluation:
    """Measure one checkpoint.

    Args:
        folder: the checkpoint.
        digest: its digest, recorded with the result.
        dataset: held-out examples and tasks.
        config: what to measure, and how finely.
        with_chain_rule: whether to read the DLM left to right on a subset, and AR on the same subset.
        device: where to compute.

    Raises:
        CheckpointError: torn or tampered with.
    """
    model, info = load_checkpoint(folder, device=device)
    measurements = _likelihoods(model, dataset, config, with_chain_rule=with_chain_rule)
    items: tuple[ItemScores, ...] = ()
    if "domain-cloze" in config.tasks:
        task_measurements, scores = _cloze(model, dataset, config)
        measurements += task_measurements
        items = (scores,)
    return Evaluation(
        checkpoint=digest,
        dataset=dataset.manifest.digest,
        step=info.step,
        tokens=info.tokens,
        flops=info.flops,
        seconds=info.seconds,
        measurements=tuple(measurements),
        items=items,
    )


def _likelihoods(
    model: Transformer, dataset: Dataset, config: EvaluationConfig, *, with_chain_rule: bool
) -> list[Measurement]:
    tokens_NL = dataset.validation()
    bytes_per_token = dataset.manifest.bytes_per_token
    if model.causal:
        whole = exact_nll(model, tokens_NL)
    else:
        masks_NKL = frozen_masks(len(tokens_NL), tokens_NL.shape[1], config.nelbo_draws, model.block_length)
        whole = nelbo(model, tokens_NL, masks_NKL)
    found = [
        _loss("validation_nll", "nats/token", whole, 1.0),
        _loss("validation_bpb", "bits/byte", whole, bytes_per_token * math.log(2)),
    ]
    if with_chain_rule and config.chain_rule_examples:
        subset = tokens_NL[: config.chain_rule_examples]
        ordered = exact_nll(model, subset) if model.causal else chain_rule_nll(model, subset)
        found.append(_loss("chain_rule_bpb", "bits/byte", ordered, bytes_per_token * math.log(2)))
    return found


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


def _cloze(model: Transformer, dataset: Dataset, config: EvaluationConfig) -> tuple[list[Measurement], ItemScores]:
    items = read_items(dataset.folder / CLOZE)
    scores = score_cloze(model, items, draws=config.cloze_draws)
    measurements = [
        Measurement(
            metric=f"domain-cloze_{name}",
            value=float(values.mean()),
            stderr=None,
            unit=unit,
            direction="higher",
            estimator=scores.estimator,
            draws=scores.draws,
        )
        for name, values, unit in (
            ("accuracy", scores.correct_N, "fraction"),
            ("margin", scores.margin_N, "nats/token"),
        )
    ]
    return measurements, ItemScores(
        task="domain-cloze",
        ids=tuple(item.id for item in items),
        clusters=tuple(item.cluster for item in items),
        correct=tuple(scores.correct_N.tolist()),
        margins=tuple(scores.margin_N.tolist()),
        option_nll=tuple(tuple(row) for row in scores.option_nll_NO.tolist()),
    )


def evaluation_path(run_folder: Path, step: int) -> Path:
    """Where the evaluation of a step is kept."""
    return run_folder / "evaluation" / f"step-{step:08d}.json"


def save_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write atomically."""
    write_json(path, evaluation.model_dump(mode="json"))


def load_evaluation(path: Path) -> Evaluation | None:
    """A kept evaluation; None when there is none or it cannot be read, so that it is made again."""
    try:
        return Evaluation.model_validate(read_json(path))
    except (WorkspaceError, ValidationError):
        return None
