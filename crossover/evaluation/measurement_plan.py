"""Which parts the evaluation of a checkpoint has, and what decides each.

A part is measured again only when its own settings, inputs or code change: a task that is added costs that task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from crossover.study.arms import Family
from crossover.study.study_digests import evaluation_digest
from crossover.study.study_parts import DOMAIN_CLOZE, EvaluationConfig

LIKELIHOOD, CHAIN_RULE, WRITING = "likelihood", "chain-rule", "writing"
TASK = "task:"
VERSIONS = {LIKELIHOOD: 2, CHAIN_RULE: 2, TASK: 1, WRITING: 1}
"""Versions of the code that measures: raise one when the same checkpoint would give other values."""


class TaskInputs(NamedTuple):
    """What the plan must know of a task."""

    content: str
    """Digest of its items and of how they become questions."""
    generates: bool
    """Whether models must write text, which is done at few checkpoints."""


@dataclass(frozen=True)
class EvaluationInputs:
    """Digests of the data that evaluation reads."""

    validation: str
    """Of the held-out examples."""
    examples: str
    """Of the training examples of the cell's budget."""
    tasks: Mapping[str, TaskInputs]
    """By name, in the order of the study."""
    scorer: str = ""
    """Of the checkpoint that judges samples; empty without one."""


class Part(NamedTuple):
    """One part of the evaluation of a checkpoint."""

    name: str
    digest: str


def evaluation_parts(
    config: EvaluationConfig,
    inputs: EvaluationInputs,
    *,
    run: str,
    family: Family,
    step: int,
    chain_rule: bool,
    writing: bool,
) -> tuple[Part, ...]:
    """The parts of the evaluation of one checkpoint, in the order in which their values are reported.

    Args:
        config: what to measure, and how finely.
        inputs: digests of the data.
        run: digest of the run.
        family: AR values are exact, so that settings of Monte Carlo draws decide those of a DLM only.
        step: of the checkpoint.
        chain_rule: whether this checkpoint gets the chain rule.
        writing: whether this checkpoint gets what models must write for.
    """
    dlm = family == "DLM"
    settings: dict[str, dict[str, object]] = {
        LIKELIHOOD: {"validation": inputs.validation}
        | ({"draws": config.nelbo_draws, "stderr": config.nelbo_stderr} if dlm else {})
    }
    if chain_rule and config.chain_rule_examples:
        settings[CHAIN_RULE] = {"validation": inputs.validation, "examples": config.chain_rule_examples}
    for name, task in inputs.tasks.items():
        if writing or not task.generates:
            draws = config.cloze_draws if name == DOMAIN_CLOZE else config.task_draws
            settings[TASK + name] = {"items": task.content} | ({"draws": draws} if dlm else {})
    if writing and (config.samples or config.passages):
        settings[WRITING] = {
            "validation": inputs.validation,
            "examples": inputs.examples,
            "samples": config.samples,
            "passages": config.passages,
            "scorer": inputs.scorer,
        }
    return tuple(
        Part(part, evaluation_digest(run, step, part, values, VERSIONS[TASK if part.startswith(TASK) else part]))
        for part, values in settings.items()
    )


def spread_steps(steps: list[int], wanted: int) -> set[int]:
    """The checkpoints that get a costly measurement: evenly spread over the list, the last among them."""
    if wanted < 1:
        return set()
    last = len(steps) - 1
    return {steps[round(last - i * len(steps) / wanted)] for i in range(min(wanted, len(steps)))}
