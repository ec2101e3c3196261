"""What the evaluation of a run will take: rows that pass through the model, and the time of a row on this machine."""

from __future__ import annotations

import statistics
import time

import numpy as np

from crossover.evaluation.held_out_likelihood import CHAIN_ORDERS, exact_nll, measured_nelbo
from crossover.evaluation.measurement_plan import spread_steps
from crossover.model.transformer import Transformer
from crossover.study.arms import Arm
from crossover.study.study_config import Cell, StudyConfig
from crossover.study.study_parts import DOMAIN_CLOZE
from crossover.training.distributed import World
from crossover.training.run_spec import cell_model
from crossover.training.timed_examples import TimedExamples, whole_examples

OPTIONS = 4
"""Continuations of an item, which a pack may have more or fewer of."""
TIMED_ROWS = 64
REPEATS = 3


def evaluation_rows(study: StudyConfig, cell: Cell, arm: Arm) -> float:
    """Rows of one sequence length that pass through the model in the evaluation of all checkpoints of one run.

    Texts that are written grow token by token: half a row a token for AR, which has no cache; a full one for a DLM.
    Items of tasks are counted as full rows, and a target standard error as one round of draws.
    """
    config, length, steps = study.evaluation, study.data.sequence_length, list(study.evaluation_steps(cell, arm.name))
    dlm = arm.family == "DLM"
    examples = study.data.validation_tokens // length
    rows = examples * (config.nelbo_draws if dlm else 1) * len(steps)
    subset = min(config.chain_rule_examples, examples)
    rows += len(spread_steps(steps, config.chain_rule_points)) * subset * (len(CHAIN_ORDERS) * length if dlm else 1)
    for task in study.evaluation.tasks:
        cloze = task == DOMAIN_CLOZE
        items, draws = (config.cloze_items, config.cloze_draws) if cloze else (config.task_items, config.task_draws)
        rows += len(steps) * items * (OPTIONS * draws if dlm else 1)
    written = config.samples * length + 2 * config.passages * length / 2
    return rows + len(spread_steps(steps, config.writing_points)) * written * (1 if dlm else 0.5)


def row_seconds(study: StudyConfig, cell: Cell, arm: Arm, examples: TimedExamples | None = None) -> float:
    """Median time of a row of one sequence length in the estimator of held-out likelihood, with an untrained model.

    Args:
        study: the study.
        cell: of the model.
        arm: the recipe.
        examples: to measure on; None for examples of one document each.
    """
    examples = examples or whole_examples(study)
    shape = cell_model(study, cell)
    model = Transformer(
        shape,
        causal=arm.family == "AR",
        mask_id=shape.vocab_size - 1,
        block_length=arm.block_length,
        expert_choice=arm.expert_choice,
        document_end=examples.document_end,
    )
    model.to(World().device(study.training.device)).eval()
    draws = study.evaluation.nelbo_draws if arm.family == "DLM" else 1
    tokens_NL = np.resize(examples.rows_NL, (max(1, TIMED_ROWS // draws), study.data.sequence_length))
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        if arm.family == "DLM":
            measured_nelbo(model, tokens_NL, draws=draws)
        else:
            exact_nll(model, tokens_NL)
        times.append((time.perf_counter() - began) / (len(tokens_NL) * draws))
    return statistics.median(times[1:])
