"""Digests by what they decide: an artifact of a study is named by the fields that its numbers come from, and no others.

dataset     the corpus, its cleaning, tokenizer and split, and the budgets
task items  the pack or the corpus, and how many items are taken
run         the training examples of its budget, the model, the arm, the training settings, the milestones, the seed
evaluation  a run's checkpoint, what is measured on it, with its settings, inputs and the version of its code
analysis    the evaluations and the plan

A study that is edited reuses every artifact whose digest stays: a new seed, arm, budget, model, task or metric adds
artifacts, a reworded question changes none. `crossover.study.field_effects` lists what each field decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.files import digest_of
from crossover.model.model_presets import PRESETS
from crossover.study.data_config import DataConfig
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer_file import tokenizer_identity

DATASET_VERSION = 3
"""Raise when the same corpus and settings would give other examples."""
COMPARISON_VERSION = 3
"""Raise when other documents would be near-duplicates or contaminated; it counts where those are moved or left out."""
TRAINING_VERSION = 2
"""Raise when the same examples, settings and seed would give other weights."""


def corpus_digest(data: DataConfig, packs: Mapping[str, str]) -> str:
    """Of how documents are read, cleaned, split and cut: with equal files, equal digests mean the same examples.

    Args:
        data: the settings.
        packs: digests of the task packs whose items leave out training documents (`data.dataset_digests` knows them).
    """
    values = _data_values(data, packs)
    del values["validation_tokens"]
    return digest_of({"version": DATASET_VERSION, "data": values})


def dataset_digest(study: StudyConfig, packs: Mapping[str, str]) -> str:
    """Of a request for a prepared corpus: what to read and how, and the budgets.

    Args:
        study: the study.
        packs: as of `corpus_digest`.
    """
    grid = study.grid
    tiers = {"quality": list(grid.quality)} if grid.quality else {}
    data, budgets = _data_values(study.data, packs), list(grid.unique_tokens)
    return digest_of({"version": DATASET_VERSION, "data": data, "budgets": budgets} | tiers)


def _data_values(data: DataConfig, packs: Mapping[str, str]) -> dict[str, object]:
    """What decides a corpus.

    The tokenizer is there by what decides it; a column of scores only where one is read; how documents are compared
    only where that chooses them.
    """
    unread = {"quality": {"column", "order"}} if data.quality.scorer != "column" else None
    values = data.model_dump(mode="json", exclude=unread) | {"tokenizer": tokenizer_identity(data.tokenizer)}
    if data.contamination.mode == "drop" or data.deduplication.near in ("split", "drop"):
        values["comparison"] = {"version": COMPARISON_VERSION, "packs": dict(packs)}
    return values


def run_digest(study: StudyConfig, run: RunId, examples: str) -> str:
    """Of one training run.

    Args:
        study: the study.
        run: cell, arm and seed.
        examples: digest of the training examples of the cell's budget.
    """
    cell = study.cell(run.cell)
    return digest_of(
        {
            "version": TRAINING_VERSION,
            "run": run.key,
            "examples": examples,
            "tokenizer": tokenizer_identity(study.data.tokenizer),
            "sequence_length": study.data.sequence_length,
            "attention": study.data.attention,
            "resample": study.data.resample,
            "model": PRESETS[cell.model],
            "arm": study.arm(run.arm).model_dump(mode="json", exclude={"description"}),
            "training": study.training_of(run.arm).model_dump(mode="json"),
            "milestones": list(study.evaluation_steps(cell, run.arm)),
        }
    )


def evaluation_digest(run: str, step: int, part: str, settings: Mapping[str, object], version: int) -> str:
    """Of one part of the evaluation of a checkpoint.

    Args:
        run: the run's digest.
        step: the checkpoint's step.
        part: what is measured.
        settings: its settings, and the digests of the data that it reads.
        version: of the code that measures it.
    """
    return digest_of({"run": run, "step": step, "part": part, "settings": dict(settings), "version": version})


def analysis_digest(plan: AnalysisPlan, evaluations: Sequence[str], notes: Sequence[str], method: str) -> str:
    """Of an analysis.

    Args:
        plan: the analysis plan.
        evaluations: digests of the evaluations that it reads.
        notes: what it tells readers beside its results.
        method: name and version of the method.
    """
    values = {"plan": plan.model_dump(mode="json"), "evaluations": sorted(evaluations)}
    return digest_of(values | {"notes": list(notes), "method": method})


def short(digest: str) -> str:
    """The first twelve hexadecimal digits of a digest: the name of a folder."""
    return digest.removeprefix("sha256:")[:12]
