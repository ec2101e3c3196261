"""Series of a tracker as a table of curves: runs become arms and seeds, steps become tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from crossover.curve_files.table import (
    CurveTable,
    FloatArray,
    NameColumn,
    check_table,
    error,
    listing,
)
from crossover.curve_files.trackers.tracked_series import TrackedSeries

GROUPS = ("arm", "seed", "cell")
_EXAMPLE = r"--run-pattern '(?P<arm>ar|dlm)-seed(?P<seed>\d+)'"


class RunNames:
    """How a run's name says its arm and seed, and its cell where there are several.

    Args:
        pattern: regular expression of a whole name with the groups `arm` and `seed`, and `cell` if need be.
        skip_others: whether runs whose names do not match are left out; otherwise they are an error.

    Raises:
        CurvesError: the pattern is missing, no regular expression, or lacks a group.
    """

    def __init__(self, pattern: str | None, *, skip_others: bool = False) -> None:
        if not pattern:
            problem = "is missing: a tracker's runs have names, and which arm and seed each is is never guessed"
            raise error("bad-run-pattern", "--run-pattern", problem, f"write for example {_EXAMPLE}")
        try:
            self._pattern = re.compile(pattern)
        except re.error as problem:
            text = f"{pattern!r} is no regular expression: {problem}"
            raise error("bad-run-pattern", "--run-pattern", text, f"write for example {_EXAMPLE}") from problem
        absent = [name for name in GROUPS[:2] if name not in self._pattern.groupindex]
        if absent:
            text = f"{pattern!r} has no group {listing(absent)}"
            raise error("bad-run-pattern", "--run-pattern", text, f"write for example {_EXAMPLE}")
        self.pattern, self.skip_others = pattern, skip_others

    def split(self, names: Sequence[str]) -> tuple[dict[str, tuple[str, int, str]], list[str]]:
        """Arm, seed and cell of each run, the cell empty where the pattern has none; and the runs that are left out.

        Raises:
            CurvesError: names do not match, a seed is no whole number, or two runs are the same arm, seed and cell.
        """
        found: dict[str, tuple[str, int, str]] = {}
        others = []
        for name in names:
            match = self._pattern.fullmatch(name)
            if match is None:
                others.append(name)
                continue
            groups = match.groupdict()
            if not str(groups["seed"]).isdecimal():
                text = f"{name!r} gives the seed {groups['seed']!r}"
                raise error("bad-run-pattern", "--run-pattern", text, "let the group `seed` hold digits only")
            found[name] = (str(groups["arm"]), int(groups["seed"]), str(groups.get("cell") or ""))
        if others and not (self.skip_others and found):
            text = f"the names of {len(others)} of {len(names)} runs do not match: {listing(others)}"
            remedy = "the pattern must match a whole name; widen it, or leave these runs out with --skip-other-runs"
            raise error("unmatched-runs", "--run-pattern", text, remedy)
        _refuse_twins(found)
        return found, others


def _refuse_twins(runs: Mapping[str, tuple[str, int, str]]) -> None:
    names: dict[tuple[str, int, str], list[str]] = {}
    for name, identity in runs.items():
        names.setdefault(identity, []).append(name)
    for (arm, seed, cell), twins in names.items():
        if len(twins) > 1:
            where = f" of cell {cell!r}" if cell else ""
            text = f"the runs {listing(twins)} are all arm {arm!r}, seed {seed}{where}"
            remedy = "let the pattern tell them apart, by a group `cell` or by matching one of them only"
            raise error("twin-runs", "--run-pattern", text, remedy)


def _refuse_same_names(series: Sequence[TrackedSeries]) -> None:
    places: dict[tuple[str, str], str] = {}
    for one in series:
        if (place := places.setdefault((one.run, one.metric), one.place)) is not one.place:
            text = f"two runs are named {one.run!r}, in {place} and {one.place}"
            raise error("twin-runs", "FILE", text, "rename one of them, or delete it in the tracker")


@dataclass(frozen=True)
class TokenRule:
    """How many training tokens a step has seen: so many a step, or the value of a metric there."""

    per_step: float | None = None
    metric: str | None = None

    def __post_init__(self) -> None:
        if (self.per_step is None) == (self.metric is None):
            state = "is missing, and so is --tokens-metric" if self.metric is None else "stands beside --tokens-metric"
            remedy = "give one of them: tokens of a step over all devices, or the metric that counts tokens"
            raise error("bad-token-rule", "--tokens-per-step", state, remedy)
        if self.per_step is not None and not 0 < self.per_step < float("inf"):
            text = f"is {self.per_step:g}, which is no number of tokens"
            raise error("bad-token-rule", "--tokens-per-step", text, "give a positive number")

    def tokens(self, series: TrackedSeries, counts: TrackedSeries | None) -> FloatArray:
        """Tokens at the steps of a series, between two counts by the straight line through them.

        Raises:
            CurvesError: the run has no counts, or none that reach as far as the series.
        """
        if self.per_step is not None:
            return series.step_P * self.per_step
        if counts is None:
            text = f"the run {series.run!r} has no metric {self.metric!r}"
            raise error("bad-token-rule", "--tokens-metric", text, "name the metric that counts tokens in every run")
        step_P, count_P = np.r_[0.0, counts.step_P], np.r_[0.0, counts.value_P]
        if series.step_P.size and series.step_P[-1] > step_P[-1]:
            text = f"the run {series.run!r} has {self.metric!r} up to step {step_P[-1]:.0f} of {series.step_P[-1]:.0f}"
            raise error("bad-token-rule", "--tokens-metric", text, "give --tokens-per-step in its place")
        return np.asarray(np.interp(series.step_P, step_P, count_P), dtype=np.float64)


@dataclass
class _Rows:
    """Columns of the table while it is made."""

    names: dict[str, list[str]] = field(default_factory=lambda: {"arm": [], "metric": [], "cell": []})
    numbers: dict[str, list[FloatArray]] = field(default_factory=dict)
    places: list[tuple[int, str]] = field(default_factory=list)

    def add(self, texts: Mapping[str, str], columns: Mapping[str, FloatArray], place: str) -> None:
        size = columns["tokens"].size
        for name, text in texts.items():
            self.names[name] += [text] * size
        for name, column in columns.items():
            self.numbers.setdefault(name, []).append(column)
        self.places.append((size, place))

    def place(self, row: int) -> str:
        """Where a row comes from, in words."""
        for size, place in self.places:
            if row < size:
                return f"point {row + 1} of {place}"
            row -= size
        return f"row {row + 1}"


def curves_of_runs(series: Sequence[TrackedSeries], runs: RunNames, rule: TokenRule) -> CurveTable:
    """The table of curves of a tracker's runs.

    Args:
        series: of `read_tracked`, those of the metric that counts tokens among them.
        runs: what names say.
        rule: how steps become tokens.

    Returns:
        A long table with the columns step and, where every time is known, seconds.

    Raises:
        CurvesError: names or steps do not say what they must.
    """
    _refuse_same_names(series)
    identities, others = runs.split(list(dict.fromkeys(one.run for one in series)))
    counts = {one.run: one for one in series if one.metric == rule.metric}
    rows, superseded = _Rows(), 0
    for one in series:
        if one.run not in identities or one.metric == rule.metric:
            continue
        arm, seed, cell = identities[one.run]
        superseded += one.superseded
        columns = {"seed": np.full(one.step_P.size, float(seed)), "tokens": rule.tokens(one, counts.get(one.run))}
        columns |= {"step": one.step_P, "value": one.value_P, "seconds": one.seconds_P}
        rows.add({"arm": arm, "metric": one.metric, "cell": cell}, columns, f"{one.metric} of {one.run}")
    numbers = {name: np.concatenate(parts) for name, parts in rows.numbers.items()}
    if not numbers:
        text = "no run that matches has a metric to judge"
        raise error("not-tracked", "--metric", text, "name metrics as the tracker does")
    if not np.isfinite(numbers["seconds"]).all():
        del numbers["seconds"]
    notes = [f"Runs that were left out, whose names do not match: {listing(others)}."] if others else []
    if superseded:
        notes.append(f"{superseded:,} points were left out, because their run went back and wrote the steps anew.")
    if any(rows.names["cell"]):
        rows.names["cell"] = [cell or "curves" for cell in rows.names["cell"]]
    else:
        del rows.names["cell"]
    names = {name: _coded(texts) for name, texts in rows.names.items()}
    return check_table(CurveTable(names, numbers, rows.place, (), tuple(notes)))


def _coded(texts: Sequence[str]) -> NameColumn:
    distinct = {name: code for code, name in enumerate(dict.fromkeys(texts))}
    return NameColumn(np.array([distinct[text] for text in texts], dtype=np.int32), tuple(distinct))
