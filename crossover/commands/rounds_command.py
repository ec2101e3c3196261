"""`crossover next` and `crossover run --rounds`: a study that grows until its verdicts are settled."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from pathlib import Path

from crossover.commands.command_options import study_of, workspace_of
from crossover.stages.round_state import next_round
from crossover.stages.run_selection import check_rounds, looks_note, selected_runs
from crossover.stages.stage_manifests import RoundsRef
from crossover.storage import open_store
from crossover.study.load_study import study_presets
from crossover.study.study_config import StudyConfig


def next(options: argparse.Namespace) -> int:
    """Print the runs of the next round, with reasons."""
    study = study_of(options)
    state = _state(options, study)
    command = _command(options, "--rounds") if state.next_selection else None
    if options.json:
        record = state.model_dump(mode="json", exclude={"runs"})
        cost = sum(run.cost for run in state.next_runs)
        print(json.dumps(record | {"command": command, "cost": cost}, indent=1, ensure_ascii=False))
        return 0
    print("\n".join(lines(study, state, _command(options))))
    if command:
        print(f"Run:   {command}")
    return 0


def _command(options: argparse.Namespace, *flags: str) -> str:
    """What runs the study."""
    out = ["--out", options.out] if options.out else []
    return shlex.join(["crossover", "run", options.study, *flags, *out])


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
            print("\n".join((f"\nRound {number}", *lines(study, state, _command(options)))), flush=True)
        folder = start(state.next_selection or state.selection)
        state = _state(options, study)
        if not state.next_selection:
            break
    if not options.json:
        print("\n".join(("", *lines(study, state, _command(options)))))
    return folder


def lines(study: StudyConfig, state: RoundsRef, command: str) -> list[str]:
    """The state for people: each cell, the next runs, and what was spent of the full grid.

    Args:
        study: the study.
        state: of its rounds.
        command: what runs all of it.
    """
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
        text += _still_open(state, command)
    text.append(f"Spent: {share}")
    return [*text, f"Plan:  {looks_note(study)}"] if study.analysis.looks[-1] != len(study.seeds) else text


def _still_open(state: RoundsRef, command: str) -> list[str]:
    """Halves of the answer that no round settles, and the planned runs that may."""
    words = {"best-so-far": "best so far", "matched": "trained to the end"}
    text = []
    for cell in state.cells:
        if not cell.undecided:
            continue
        halves = " and ".join(words.get(half, half) for half in cell.undecided)
        line = f"Open:  {cell.cell}: still open: {halves} (insufficient evidence)"
        if left := [run for run in state.untrained if run.cell == cell.cell]:
            seeds = ", ".join(map(str, dict.fromkeys(run.seed for run in left)))
            cost = sum(state.costs.get(f"{run.cell}/{run.arm}", 0.0) for run in left)
            runs = f"{len(left)} planned run{'s' * (len(left) > 1)} not trained"
            line += f"; {runs} (seeds {seeds}, about {cost:.2g} {state.unit}): `{command}` trains them"
        text.append(line)
    return [*text, "       only the headline verdict closes a cell"] if text else []


def _state(options: argparse.Namespace, study: StudyConfig) -> RoundsRef:
    check_rounds(study, options.study if options.study in study_presets() else "")
    return next_round(study, open_store(workspace_of(options, study)))
