"""Which runs of a study a round does, as one line of text: a pipeline's parameter holds it.

`u10000-nano:0,1,2;u20000-nano:0` are all arms of three seeds in one cell and of one seed in another; empty is all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crossover.errors import StudyError
from crossover.study import StudyConfig

Selection = Mapping[str, tuple[int, ...]]
"""Cell to seeds; a cell that is left out has none."""


def parse_selection(study: StudyConfig, text: str) -> Selection:
    """The selected seeds of each cell, in the study's order; all of them for an empty text.

    Raises:
        StudyError: not of that form, or a cell or seed that the study does not have.
    """
    if not text.strip():
        return {cell.name: study.seeds for cell in study.cells}
    named: dict[str, set[int]] = {}
    for part in text.split(";"):
        cell, _, listed = part.strip().partition(":")
        seeds = {int(seed) for seed in listed.split(",") if seed.strip().isdecimal()}
        if not seeds or len(seeds) < len(listed.split(",")) or not seeds <= set(study.seeds):
            raise _error(part, f"names no seeds among {', '.join(map(str, study.seeds))}")
        if cell not in [known.name for known in study.cells]:
            raise _error(part, f"names no cell among {', '.join(known.name for known in study.cells)}")
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
    return ";".join(f"{cell}:{','.join(map(str, found))}" for cell, found in seeds.items())


def _error(part: str, problem: str) -> StudyError:
    return StudyError(
        "run.selection",
        field="runs",
        problem=f"{part.strip()!r} {problem}",
        remedy="write CELL:SEED,SEED;CELL:SEED as `crossover next` prints it, or leave it empty for all",
    )
