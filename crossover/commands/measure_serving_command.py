"""`crossover measure-serving`: from how many concurrent requests on AR serves more than the diffusion model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.commands.serving_measurements import ServingPlan, measure_crossover
from crossover.commands.stage_commands import ANALYSIS, handed
from crossover.errors import StudyError
from crossover.stages.serving_record import leave_serving
from crossover.stages.stage_manifests import AnalysisRef, Candidate
from crossover.stages.study_context import StudyContext, open_study
from crossover.study.study_config import StudyConfig

MOST_CLIENTS = 256


def measure_serving(options: argparse.Namespace) -> int:
    """Measure the best checkpoints of both families, record what was found, and print it.

    Raises:
        StudyError: a flag is out of range, or the study has models of one family only.
        WorkspaceError: the study was not analysed yet.
        CrossoverError: a predictor did not start, or a request failed.
    """
    from crossover.report import serving_lines

    study, plan = study_of(options), _plan(options)
    with open_study(study, workspace_of(options, study), registry_of(options)) as context:
        analysis = handed(context, AnalysisRef, ANALYSIS)
        sides = [(chosen, _folder(context, chosen)) for chosen in _chosen(study, analysis)]
        comparison = measure_crossover(
            sides[0], sides[1], _prompts(context), plan, lambda line: print(line, file=sys.stderr, flush=True)
        )
        leave_serving(context, comparison)
    if options.json:
        print(comparison.model_dump_json(indent=1))
        return 0
    print("\n".join(serving_lines(comparison)))
    print(f"`crossover analyse {options.study}` writes it into the report.")
    return 0


def _plan(options: argparse.Namespace) -> ServingPlan:
    for flag, ok, remedy in (
        ("--repeats", 2 <= options.repeats <= 100, "give 2 to 100: an interval needs two"),
        ("--tokens", 1 <= options.tokens <= 4096, "give 1 to 4096"),
        ("--block-length", 1 <= options.block_length <= 4096, "give 1 to 4096"),
        ("--confidence-threshold", 0 <= options.confidence_threshold <= 1, "give a probability"),
    ):
        if not ok:
            value = getattr(options, flag[2:].replace("-", "_"))
            raise _bad(flag, f"is {value:g}", remedy)
    names = ("block_length", "confidence_threshold", "cache")
    return ServingPlan(
        concurrency=_concurrency(options.concurrency),
        repeats=options.repeats,
        tokens=options.tokens,
        setting={name: getattr(options, name) for name in names},
    )


def _concurrency(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) < 2 or sorted(set(numbers)) != list(numbers) or not 1 <= numbers[0] <= numbers[-1] <= MOST_CLIENTS:
        raise _bad(
            "--concurrency",
            f"is {text!r}",
            f"give two or more rising numbers from 1 to {MOST_CLIENTS}, such as 1,2,4,8",
        )
    return numbers


def _bad(flag: str, problem: str, remedy: str) -> StudyError:
    return StudyError("serving.bad-flag", field=flag, problem=problem, remedy=remedy)


def _chosen(study: StudyConfig, analysis: AnalysisRef) -> tuple[Candidate, Candidate]:
    """The best checkpoints of an autoregressive and a diffusion arm; those of the analysis plan where it has both."""
    preferred = (study.analysis.baseline, study.analysis.candidate)
    arms = sorted(analysis.best, key=lambda arm: arm not in preferred)
    found = [next((arm for arm in arms if study.arm(arm).family == family), None) for family in ("AR", "DLM")]
    if None in found:
        raise StudyError(
            "serving.one-family",
            field="STUDY",
            problem=f"its arms are of one family: {', '.join(analysis.best)}",
            remedy="name a study with an autoregressive and a diffusion arm, such as ar and dlm",
        )
    first, second = (analysis.best[str(arm)] for arm in found)
    return first, second


def _folder(context: StudyContext, chosen: Candidate) -> Path:
    return context.store.fetch(context.store.name_of(chosen.checkpoint.uri), chosen.checkpoint.digest)


def _prompts(context: StudyContext) -> Sequence[Sequence[int]]:
    """Held-out examples as token ids, without the marks between documents."""
    from crossover.stages.prepare_stage import prepared_dataset

    dataset = prepared_dataset(context)
    rows = [np.asarray(row)[~dataset.tokenizer.is_special(row)] for row in dataset.validation()]
    longest = max(map(len, rows))
    return [row.tolist() for row in rows if len(row) > longest // 2]
