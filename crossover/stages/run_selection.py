"""The runs of a round as one line of text, which fits into a parameter of the pipeline.

`u10000-nano:0,1,2;u20000-nano:0` are all arms of three seeds in one cell and of one seed in another; empty is all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crossover.errors import StudyError
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig

Selection = Mapping[str, tuple[int, ...]]
"""Cell to seeds; a cell that is left out has none."""


TASKS_PER_SLOT = 2
"""Pretraining tasks for each of the stages that run at once."""


def default_seeds_per_task(runs: int, parallel: int) -> int:
    """Seeds that one local task trains: every task starts processes, and two tasks a slot still share the work well."""
    return max(1, runs // (TASKS_PER_SLOT * parallel))


def check_rounds(study: StudyConfig, preset: str = "") -> None:
    """See whether the study can be judged while it grows.

    Args:
        study: the study.
        preset: its name, if it is one.

    Raises:
        StudyError: its plan has no looks, or too few seeds for the first.
    """
    looks, seeds = study.analysis.looks, len(study.seeds)
    if not looks or seeds < looks[0]:
        reason = (
            f"the first look is at {looks[0]} seed pairs, and there are {seeds} seeds" if looks else "there are none"
        )
        edit = f"; `crossover run {preset} --print-study > mine.yaml` writes the preset to edit" if preset else ""
        raise StudyError(
            "run.rounds-need-looks",
            field="analysis.looks",
            problem=f"a study in rounds is judged at the plan's looks only, and {reason}",
            remedy=f"give {looks[0]} seeds or more"
            if looks
            else "name them before the first analysis, for example `looks: [5, 8, 12]` with `seeds: 12`; after it "
            "they may still be added, and the report then says that they were not planned before results were seen"
            f"{edit}",
        )


def looks_note(study: StudyConfig) -> str:
    """The runs up to a plan's first look, looks that the seeds never reach, and seeds beyond the last look.

    Empty without looks.
    """
    looks, seeds = study.analysis.looks, len(study.seeds)
    if not looks:
        return ""
    text = f"in rounds (`--rounds`): judged at {', '.join(map(str, looks))} seed pairs"
    if looks[0] <= seeds:
        text += f", {looks[0] * len(study.arms) * len(study.cells)} runs up to the first"
    beyond = [look for look in looks if look > seeds]
    if beyond:
        text += f"; the study has {seeds} seeds, so that it never reaches {', '.join(map(str, beyond))}"
    if extra := max(0, seeds - looks[-1]):
        text += f"; of the study's {seeds} seeds those beyond the last look ({extra}) are never judged"
    return text


def selected_runs(study: StudyConfig, text: str) -> list[RunId]:
    """The runs of a selection by cell, arm and seed; see `parse_selection`."""
    return [
        RunId(cell, arm, seed)
        for cell, seeds in parse_selection(study, text).items()
        for arm in study.arms
        for seed in seeds
    ]


def parse_selection(study: StudyConfig, text: str) -> Selection:
    """The selected seeds of each cell, in the study's order; all of them for an empty text.

    Raises:
        StudyError: not of that form, a cell or seed that the study does not have, or a study without looks, whose
            error rate would not hold if it were judged part by part.
    """
    if not text.strip():
        return {cell.name: study.seeds for cell in study.cells}
    check_rounds(study)
    named: dict[str, set[int]] = {}
    for part in text.split(";"):
        cell, _, listed = (piece.strip() for piece in part.partition(":"))
        if cell not in [known.name for known in study.cells]:
            raise _error(part, f"names no cell among {', '.join(known.name for known in study.cells)}")
        texts = [seed.strip() for seed in listed.split(",")]
        seeds = {int(seed) for seed in texts if seed.isdecimal()}
        if not all(seed.isdecimal() for seed in texts) or not seeds <= set(study.seeds):
            raise _error(part, f"names no seeds among {', '.join(map(str, study.seeds))}")
        named[cell] = named.get(cell, set()) | seeds
    return {
        cell.name: tuple(seed for seed in study.seeds if seed in named[cell.name])
        for cell in study.cells
        if cell.name in named
    }


def selection_text(runs: Iterable[tuple[str, int]]) -> str:
    """The text of (cell, seed) pairs."""
    seeds: dict[str, dict[int, None]] = {}
    for cell, seed in runs:
        seeds.setdefault(cell, {})[seed] = None
    return ";".join(f"{cell}:{','.join(map(str, chosen))}" for cell, chosen in seeds.items())


def _error(part: str, problem: str) -> StudyError:
    return StudyError(
        "run.bad-selection",
        field="runs",
        problem=f"{part.strip()!r} {problem}",
        remedy="write CELL:SEED,SEED;CELL:SEED as `crossover next` prints it, or leave it empty for all",
    )
