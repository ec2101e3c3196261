"""Which arm and seed a tracker's run is: by a pattern of its name, or by a list of the runs."""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from crossover.curve_files.table import error, listing

Identity = tuple[str, int, str]
"""Arm, seed and cell."""
_EXAMPLE = r"--run-pattern '(?P<arm>ar|dlm)-seed(?P<seed>\d+)'"


class RunRule(ABC):
    """Says which arm, seed and cell a run is.

    Args:
        flag: that the rule was given with.
        skip_others: whether runs of which it says nothing are left out; otherwise they are an error.
    """

    def __init__(self, flag: str, *, skip_others: bool) -> None:
        self.flag, self.skip_others = flag, skip_others

    @abstractmethod
    def identity(self, name: str) -> Identity | None:
        """Arm, seed and cell of a run, the cell empty where there is one only; None where the rule says nothing.

        Raises:
            CurvesError: the seed is no whole number.
        """

    def split(self, names: Sequence[str]) -> tuple[dict[str, Identity], list[str]]:
        """Arm, seed and cell of each run, the cell empty where the pattern has none; and the runs that are left out.

        Raises:
            CurvesError: runs are not covered, a seed is no whole number, or two runs are the same arm, seed and cell.
        """
        found: dict[str, Identity] = {}
        others = []
        for name in names:
            identity = self.identity(name)
            if identity is None:
                others.append(name)
            else:
                found[name] = identity
        if others and not (self.skip_others and found):
            text = f"{len(others)} of {len(names)} runs are not covered: {listing(others)}"
            remedy = "a pattern must match whole names, a list have each; or leave these out with --skip-other-runs"
            raise error("unmatched-runs", self.flag, text, remedy)
        _refuse_twins(self.flag, found)
        return found, others


class RunNames(RunRule):
    """How a run's name says its arm and seed, and its cell where there are several.

    Args:
        pattern: regular expression of a whole name with the groups `arm` and `seed`, and `cell` if need be.
        skip_others: whether runs whose names do not match are left out; otherwise they are an error.

    Raises:
        CurvesError: the pattern is missing, no regular expression, or lacks a group.
    """

    def __init__(self, pattern: str | None, *, skip_others: bool = False) -> None:
        super().__init__("--run-pattern", skip_others=skip_others)
        if not pattern:
            problem = "is missing, and so is --runs: which arm and seed a tracker's run is, is never guessed"
            raise error("bad-run-pattern", "--run-pattern", problem, f"write for example {_EXAMPLE}")
        try:
            self._pattern = re.compile(pattern)
        except re.error as problem:
            text = f"{pattern!r} is no regular expression: {problem}"
            raise error("bad-run-pattern", "--run-pattern", text, f"write for example {_EXAMPLE}") from problem
        absent = [name for name in ("arm", "seed") if name not in self._pattern.groupindex]
        if absent:
            text = f"{pattern!r} has no group {listing(absent)}"
            raise error("bad-run-pattern", "--run-pattern", text, f"write for example {_EXAMPLE}")

    def identity(self, name: str) -> Identity | None:
        """What the groups of the pattern hold."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        groups = match.groupdict()
        return str(groups["arm"]), _seed(self.flag, name, str(groups["seed"])), str(groups.get("cell") or "")


class RunList(RunRule):
    """A table that says of each run its arm and seed, for runs whose names say nothing.

    Args:
        file: CSV with the columns `run`, `arm` and `seed`, and `cell` if need be.
        skip_others: whether runs that the table does not have are left out; otherwise they are an error.

    Raises:
        CurvesError: the file cannot be read, lacks a column, or has a run twice.
    """

    def __init__(self, file: Path, *, skip_others: bool = False) -> None:
        super().__init__("--runs", skip_others=skip_others)
        try:
            with file.open(encoding="utf-8-sig", newline="") as text:
                rows = list(csv.DictReader(text))
        except (OSError, ValueError, csv.Error) as problem:
            text_ = f"{file.name}: {' '.join(str(problem).split())[:200]}"
            raise error("bad-run-list", self.flag, text_, "name a CSV with the columns run, arm, seed") from problem
        self._listed: dict[str, Identity] = {}
        for number, row in enumerate(rows, start=1):
            run, arm, seed = (str(row.get(name) or "").strip() for name in ("run", "arm", "seed"))
            if not (run and arm and seed) or run in self._listed:
                what = f"has the run {run!r} a second time" if run in self._listed else "lacks its run, arm or seed"
                text_ = f"{file.name}, row {number} {what}"
                raise error("bad-run-list", self.flag, text_, "give one row with run, arm and seed for each run")
            self._listed[run] = (arm, _seed(self.flag, run, seed), str(row.get("cell") or "").strip())

    def identity(self, name: str) -> Identity | None:
        """What the table says."""
        return self._listed.get(name)


def _seed(flag: str, run: str, text: str) -> int:
    if not text.isdecimal():
        remedy = "number the seeds 0, 1, 2, …"
        raise error("bad-run-pattern", flag, f"{run!r} gives the seed {text!r}", remedy)
    return int(text)


def _refuse_twins(flag: str, runs: Mapping[str, Identity]) -> None:
    names: dict[Identity, list[str]] = {}
    for name, identity in runs.items():
        names.setdefault(identity, []).append(name)
    for (arm, seed, cell), twins in names.items():
        if len(twins) > 1:
            where = f" of cell {cell!r}" if cell else ""
            text = f"the runs {listing(twins)} are all arm {arm!r}, seed {seed}{where}"
            remedy = "tell them apart, by a group or column `cell`, or name one of them only"
            raise error("twin-runs", flag, text, remedy)
