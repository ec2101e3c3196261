"""`crossover export-model`: a checkpoint as a model folder for transformers, vLLM and SGLang."""

from __future__ import annotations

import argparse
from pathlib import Path

from crossover.commands.command_options import workspace_at
from crossover.commands.serve_command import find_checkpoint
from crossover.model_export.export_checkpoint import export_checkpoint
from crossover.stages.corpus_record import read_corpus_record
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import open_store
from crossover.study.study_config import StudyConfig


def export_model(options: argparse.Namespace) -> int:
    """Write the promoted checkpoint, or the best one of `--arm`, as a model folder."""
    place, out = workspace_at(options.place), Path(options.folder)
    checkpoint = find_checkpoint(place, options.arm)
    corpus = "" if checkpoint == Path(place) else _corpus(place)
    info = export_checkpoint(checkpoint, out, dtype=options.dtype, corpus=corpus)
    print(f"{out}: {info.run}, step {info.step}; {out / 'README.md'} says how to load it")
    return 0


def _corpus(place: str) -> str:
    """Digest of the documents that the workspace's study is trained on; empty if it was not prepared there."""
    store = open_store(place)
    document = store.read_document(STUDY_FILE)
    study = StudyConfig.model_validate(document.value["study"]) if document else None
    record = read_corpus_record(study, store) if study else None
    return record.content if record else ""
