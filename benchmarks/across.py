"""Do the fits over cells hold what they state? Slopes and forecasts of the crossing; constants of planted laws.

Run `python -m benchmarks.across`; prints Markdown tables.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.calibration.detectors import markdown
from benchmarks.simulations.simulated_laws import PLANTED, planted
from crossover.analysis.across.cross_cell_result import CellCrossing, CellFacts, LawForm
from crossover.analysis.across.crossing_regression import fit_crossings
from crossover.analysis.across.scaling_law_fits import KINDS, fit_laws

SLOPES = {"log unique tokens": 0.8, "log parameters": -0.4}
LEVEL = 3.5
STDERR = 0.1
GRID = tuple((u, n) for u in (1e6, 2e6, 4e6, 8e6) for n in (1e6, 4e6, 16e6))
NEW = CellFacts(cell="new", unique_tokens=16_000_000, parameters=4_000_000)
REACH = 100.0
"""Where the runs of censored studies end, in epochs."""


def log_crossing(facts: CellFacts) -> float:
    """The truth without scatter."""
    slopes = SLOPES.values()
    sizes = (facts.unique_tokens / 1e6, facts.parameters / 1e6)
    return LEVEL + sum(slope * float(np.log(size)) for slope, size in zip(slopes, sizes, strict=True))


def measured(rng: np.random.Generator, cells: int, scatter: float, *, ends: bool) -> list[CellCrossing]:
    """So many cells of the grid, drawn at random, each with its own scatter and error of measurement."""
    found = []
    for i in rng.permutation(len(GRID))[:cells]:
        u, n = GRID[i]
        facts = CellFacts(cell=f"{u:g}-{n:g}", unique_tokens=int(u), parameters=int(n))
        true = log_crossing(facts) + scatter * rng.normal()
        at = float(np.exp(true + STDERR * rng.normal()))
        bare = {"facts": facts, "low": None, "high": None}
        if ends and true > np.log(REACH):
            found.append(CellCrossing(at=None, beyond=REACH, outcome="baseline", **bare))
        else:
            found.append(CellCrossing(at=at, stderr=STDERR, outcome="crossover", **bare))
    return found


def movement_row(cells: int, scatter: float, ends: bool, repeats: int) -> list[str]:
    """Coverage of both slopes and of the forecast, and how wide it is."""
    rng = np.random.default_rng([cells, round(1000 * scatter), ends])
    hits: dict[str, list[bool]] = {name: [] for name in (*SLOPES, "forecast")}
    widths, fitted = [], 0
    for _ in range(repeats):
        fit = fit_crossings(measured(rng, cells, scatter, ends=ends), alpha=0.05)
        if fit is None:
            continue
        fitted += 1
        for slope in fit.slopes():
            hits[slope.predictor].append(slope.low < SLOPES[slope.predictor] < slope.high)
        if fit.design.knows(NEW) and len(fit.design.names) == len(SLOPES):
            forecast = fit.forecast(NEW)
            truth = float(np.exp(log_crossing(NEW) + scatter * rng.normal()))
            hits["forecast"].append(forecast.low < truth < forecast.high)
            widths.append(forecast.high / forecast.low)
    shares = [f"{100 * np.mean(held):.1f} %" if held else "–" for held in hits.values()]
    return [
        str(cells),
        str(scatter),
        "yes" if ends else "no",
        f"{fitted / repeats:.0%}",
        *shares,
        f"{np.median(widths):.1f}",
    ]


def law_rows(kind: LawForm, repeats: int, sd: float, pairs: int) -> list[list[str]]:
    """Each constant's coverage and error; how often the planted form wins; seconds a fit."""
    inside: dict[str, list[bool]] = {name: [] for name in PLANTED[kind]}
    errors: dict[str, list[float]] = {name: [] for name in PLANTED[kind]}
    best, seconds = 0, []
    for repeat in range(repeats):
        cells, truth = planted(kind, seed=repeat, sd=sd, pairs=pairs)
        began = time.perf_counter()
        fits = fit_laws(cells, ["ar"])
        seconds.append((time.perf_counter() - began) / len(fits))
        fit = next(f for f in fits if f.form == kind)
        best += fit.best
        for c in fit.constants:
            inside[c.name].append(c.low is not None and c.high is not None and c.low < truth[c.name] < c.high)
            errors[c.name].append(abs(c.value / truth[c.name] - 1))
    where = (kind, f"{100 * sd:g} %", str(pairs))
    told = [f"{best / repeats:.0%}", f"{np.median(seconds):.2f}"]
    every = [held for name in inside for held in inside[name]]
    rows = [[*where, "all", "", f"{100 * np.mean(every):.0f} %", "", *told]]
    for name, held in inside.items():
        error = f"{100 * np.median(errors[name]):.1f} %"
        rows.append([*where, name, f"{PLANTED[kind][name]}", f"{100 * np.mean(held):.0f} %", error, "", ""])
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="studies for each row of the movement table")
    parser.add_argument("--law-repeats", type=int, default=20, help="studies for each law")
    options = parser.parse_args()
    head = ("cells", "scatter", "runs end at 100", "fitted", "slope of U", "slope of N", "forecast", "forecast's width")
    cases = [(n, tau, ends) for n in (4, 6, 10) for tau in (0.05, 0.3) for ends in (False, True)]
    print("## How the crossing moves\n")
    print(markdown(head, [movement_row(*case, options.repeats) for case in cases]), flush=True)
    law_head = ("law", "noise", "runs", "constant", "planted", "coverage", "median error", "chosen", "seconds a fit")
    print("\n## Laws\n")
    laws = [(kind, sd, pairs) for kind in KINDS for sd, pairs in ((0.004, 5), (0.02, 5), (0.02, 2))]
    rows = [row for kind, sd, pairs in laws for row in law_rows(kind, options.law_repeats, sd, pairs)]
    print(markdown(law_head, rows))


if __name__ == "__main__":
    main()
