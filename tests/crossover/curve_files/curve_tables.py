"""A small study's curves, written to files in the forms that people have them in."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

COLUMNS = ("arm", "seed", "tokens", "metric", "value")
TOKENS = np.geomspace(1e4, 1e6, 12).round().astype(int)
Row = dict[str, object]


def rows(seeds: Sequence[int] = range(5), crossing: float = 1e5, metric: str = "loss") -> list[Row]:
    """The DLM is better from `crossing` tokens on."""
    rng = np.random.default_rng(7)
    found: list[Row] = []
    for arm in ("ar", "dlm"):
        for seed in seeds:
            for tokens in TOKENS.tolist():
                gap = 0.2 * np.log10(crossing / tokens) * (arm == "dlm")
                value = round(3 - 0.1 * np.log10(tokens) + gap + 0.01 * rng.normal(), 6)
                found.append({"arm": arm, "seed": seed, "tokens": tokens, "metric": metric, "value": value})
    return found


def table(given: Sequence[Mapping[str, object]], *, separator: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(given[0]), delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(given)
    return text.getvalue()


def changed(given: Sequence[Row], change: Callable[[Row], Row | None]) -> list[Row]:
    """Rows after a change; None leaves one out."""
    return [row for old in given if (row := change(dict(old))) is not None]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding)
    return path
