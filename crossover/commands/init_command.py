"""`crossover init`: a study proposed for a corpus and a number of hours."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from crossover.errors import StudyError
from crossover.files import write_atomically
from crossover.progress import time_text
from crossover.settings import get_settings

if TYPE_CHECKING:
    from crossover.data.corpus_survey import CorpusSurvey
    from crossover.stages.study_proposal import Proposal

FORECAST_CELLS = 3
"""Least number of crossings that a forecast is made of."""


def init(options: argparse.Namespace) -> int:
    """Read a corpus, write a study of it, and print what it costs and how far its answer reaches.

    Raises:
        StudyError: the file exists, or the hours do not suffice.
        DataError: the corpus cannot be read, or has too few documents.
    """
    import torch

    from crossover.data.corpus_survey import source_of, survey_corpus
    from crossover.stages.study_proposal import propose_study

    if not 0 < options.hours < float("inf"):
        problem = f"{options.hours:g} hours are no time to train in"
        raise StudyError("init.bad-hours", field="--hours", problem=problem, remedy="give a positive number")
    name = options.name or _name_of(options.corpus)
    file = Path(options.out or f"{name}.yaml")
    if file.exists():
        problem, remedy = f"{file} exists", "give another file, or remove that one"
        raise StudyError("init.exists", field="--out", problem=problem, remedy=remedy)
    settings = get_settings()
    torch.set_num_threads(settings.step_threads)

    def show(what: str) -> None:
        print(f"measuring {what}", file=sys.stderr, flush=True)

    survey = survey_corpus(source_of(options.corpus, text_field=options.text_field, separator=options.separator))
    print(_corpus_text(survey))
    if survey.data.separator and not options.separator:
        print(f"documents are cut at {survey.data.separator!r}; --separator sets another text")
    proposal = propose_study(
        survey,
        settings,
        name=name,
        hours=options.hours,
        epochs=options.epochs,
        seeds=options.seeds,
        models=options.model,
        on_run=show,
    )
    write_atomically(file, lambda stream: stream.write(proposal.text.encode()))
    print(f"\n{_proposal_text(proposal)}\n\nwrote {file}. Next:\n  crossover plan {file}\n  crossover run {file}")
    if len(proposal.cells) > 1:
        smallest = proposal.cells[0]
        print(
            f"A first answer in {time_text(3600 * smallest.hours)}: leave only {smallest.unique_tokens} in "
            "grid.unique_tokens; its runs are reused when the others are added."
        )
    return 0


def _corpus_text(survey: CorpusSurvey) -> str:
    """What was read, in a line."""
    counts = survey.counts
    kinds = {"duplicates": counts.duplicates, "empty": counts.empty, **counts.skipped.counts}
    skipped = "".join(f", {count:,} {kind} skipped" for kind, count in kinds.items() if count)
    files = f"{counts.files:,} file{'s' if counts.files > 1 else ''} of {survey.stored_bytes / 1e6:,.1f} MB"
    return f"{survey.data.source}: {files}, {survey.documents:,} documents{skipped}"


def _proposal_text(proposal: Proposal) -> str:
    """The cells, their cost, and how far the answer reaches."""
    study, last = proposal.study, proposal.cells[-1]
    lines = [f"{'cell':<18}{'epochs':>8}{'of the corpus':>16}{'alone':>10}"]
    for cell in proposal.cells:
        share, alone = f"{100 * cell.share:.3g} %", time_text(3600 * cell.hours)
        lines.append(f"{cell.cell:<18}{study.training.epochs:>8g}{share:>16}{alone:>10}")
    total = time_text(3600 * proposal.hours)
    lines += [
        f"all of them: about {total} on this machine, {len(study.seeds)} seeds a cell",
        "",
        f"Verdicts will hold for up to {last.unique_tokens:,} unique tokens of the {proposal.available_tokens:,} that "
        "the corpus has.",
    ]
    if last.share < 1:
        enough = len(proposal.cells) >= FORECAST_CELLS
        lines += [
            "Where at least three cells cross, the report forecasts the crossing of larger budgets."
            if enough
            else "Fewer than three cells allow no forecast of larger budgets: give more --hours.",
            f"All of the corpus with this model: about {time_text(3600 * proposal.full_hours)}.",
        ]
    return "\n".join(lines)


def _name_of(corpus: str) -> str:
    """A study's name from that of its corpus."""
    stem = re.split(r"[*?\[]", corpus.partition(":")[2] or corpus)[0].rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^a-z0-9_-]+", "-", stem.lower().partition(".")[0]).strip("-_")[:63]
    return name or "study"
