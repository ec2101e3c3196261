"""Series of a tracker as a table of curves: runs become arms and seeds, steps become tokens."""

from __future__ import annotations

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
from crossover.curve_files.trackers.run_rules import RunRule
from crossover.curve_files.trackers.tracked_series import TrackedSeries


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


def curves_of_runs(series: Sequence[TrackedSeries], runs: RunRule, rule: TokenRule) -> CurveTable:
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
