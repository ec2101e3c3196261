"""`crossover next` and `crossover run --rounds`: a study that grows until its verdicts are settled."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

from crossover.commands.command_options import study_of, workspace_of
from crossover.stages.round_state import next_round
from crossover.stages.run_selection import check_rounds, looks_note, selected_runs
from crossover.stages.stage_manifests import RoundsRef
from crossover.storage import open_store
from crossover.study.study_config import StudyConfig


def next(options: argparse.Namespace) -> int:
    """Print the runs of the next round, with reasons."""
    study = study_of(options)
    state = _state(options, study)
    if options.json:
        print(state.model_dump_json(indent=1, exclude={"runs"}))
        return 0
    print("\n".join(lines(study, state)))
    if state.next_selection and not state.next_runs:
        out = ["--out", options.out] if options.out else []
        print(f"Run:   {shlex.join(['crossover', 'run', options.study, '--rounds', *out])}")
    return 0


def run_rounds(options: argparse.Namespace, study: StudyConfig, start: Callable[[str], Path]) -> Path:
    """Run the pipeline again and again with the runs that the design asks for, until it asks for none.

    Args:
        options: of the command line.
        study: with looks in its plan.
        start: runs the pipeline on a selection of runs; returns the workspace's folder.

    Returns:
        The workspace's folder. A study that was settled before is analysed again, for its promotion.

    Raises:
        StudyError: the plan has no looks, or fewer seeds than the first of them.
    """
    state, number = _state(options, study), 0
    while True:
        number += 1
        if not options.json:
            print("\n".join((f"\nRound {number}", *lines(study, state))), flush=True)
        folder = start(state.next_selection or state.selection)
        state = _state(options, study)
        if not state.next_selection:
            break
    if not options.json:
        print("\n".join(("", *lines(study, state))))
    return folder


def lines(study: StudyConfig, state: RoundsRef) -> list[str]:
    """The state for people: each cell, the next runs, and what was spent of the full grid."""
    text = []
    for cell in state.cells:
        trained = f", {cell.trained} trained" if cell.trained > cell.pairs else ""
        text.append(f"{cell.cell}: {cell.status} ({cell.pairs} seed pairs judged{trained}): {cell.reason}")
    selected = len(selected_runs(study, state.next_selection)) if state.next_selection else 0
    cost = sum(run.cost for run in state.next_runs)
    share = f"{state.spent:.3g} of {state.full:.3g} {state.unit} of the full grid ({state.spent / state.full:.0%})"
    if state.next_runs:
        text.append(f"Next:  {len(state.next_runs)} runs, about {cost:.3g} {state.unit}: {state.next_selection}")
        if reused := selected - len(state.next_runs):
            text.append(f"       {reused} other runs of this selection are trained and reused")
    elif selected:
        waiting = f"{selected} runs are trained and not yet analysed under these looks"
        text.append(f"Next:  nothing to train; {waiting}: {state.next_selection}")
    else:
        text.append("Next:  nothing")
    text.append(f"Spent: {share}")
    return [*text, f"Plan:  {looks_note(study)}"] if study.analysis.looks[-1] != len(study.seeds) else text


def _state(options: argparse.Namespace, study: StudyConfig) -> RoundsRef:
    check_rounds(study)
    return next_round(study, open_store(workspace_of(options, study)))
