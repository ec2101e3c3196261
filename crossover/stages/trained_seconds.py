"""How long trained runs took, from the manifests of their last checkpoints: no weights are read, and none fetched."""

from __future__ import annotations

import json
from collections.abc import Iterable

from crossover.stages.corpus_record import read_corpus_record
from crossover.stages.workspace import run_name
from crossover.storage import ArtifactStore
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import run_digest
from crossover.training.checkpoint_info import MANIFEST, step_name


def trained_seconds(study: StudyConfig, store: ArtifactStore, runs: Iterable[RunId]) -> dict[RunId, float]:
    """Training time of each run, in seconds; without those whose last checkpoint is not on this machine.

    Args:
        study: the study.
        store: of its workspace.
        runs: runs that are trained to their end.
    """
    corpus = read_corpus_record(study, store)
    seconds: dict[RunId, float] = {}
    for run in runs if corpus is not None else ():
        cell = study.cell(run.cell)
        examples = corpus.examples(cell) if corpus else ""
        if not examples:
            continue
        last = step_name(study.total_steps(cell, run.arm))
        folder = store.path(f"{run_name(run, run_digest(study, run, examples))}/checkpoints/{last}")
        try:
            seconds[run] = float(json.loads((folder / MANIFEST).read_text("utf-8"))["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return seconds
