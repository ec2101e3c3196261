"""What befalls the runs of a study: resumes, crashes, missing values, copies, errors shared by an arm.

A fault changes the runs in place. Places are shares of the log range from 10k to 1M tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulations.messy_curves import ARMS, Fault, Run, Runs, at_share


def _one(rng: np.random.Generator, runs: Runs, arm: str) -> Run:
    keys = [key for key in runs if key[0] == arm]
    return runs[keys[int(rng.integers(len(keys)))]]


def keep(run: Run, kept_P: NDArray[np.bool_]) -> None:
    """Leave a run only some of its points."""
    run.tokens_P, run.value_P, run.stderr_P = run.tokens_P[kept_P], run.value_P[kept_P], run.stderr_P[kept_P]


def resumed(by: float, arm: str = "dlm", since: float = 0.3) -> Fault:
    """One run's evaluations stand so many tokens later (negative: earlier) from a share of its points on."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        run = _one(rng, runs, arm)
        run.tokens_P[int(since * run.tokens_P.size) :] += by

    return happen


def last_early(by: float, arm: str = "dlm") -> Fault:
    """The last evaluation of every run of an arm stands so many tokens earlier."""

    def happen(_: np.random.Generator, runs: Runs) -> None:
        for (name, _seed), run in runs.items():
            if name == arm:
                run.tokens_P[-1] -= by

    return happen


def missing(rate: float) -> Fault:
    """Values that are NaN at random; a rate of 0 is one last value of one baseline run."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        if not rate:
            _one(rng, runs, ARMS[0]).value_P[-1] = np.nan
        for run in runs.values():
            run.value_P[rng.random(run.value_P.size) < rate] = np.nan

    return happen


def crashed(at: float, arm: str = "dlm") -> Fault:
    """One run ends at a share of the log range."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        run = _one(rng, runs, arm)
        keep(run, run.tokens_P <= at_share(at))

    return happen


def crashing(probability: float, *, worst: bool, arm: str = "dlm") -> Fault:
    """Runs of one arm crash at random places: any of them, or those of the worst values."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        of_arm = [run for key, run in runs.items() if key[0] == arm]
        dead = rng.random(len(of_arm)) < probability
        if worst:
            order = np.argsort([-run.value_P.mean() for run in of_arm])
            dead[order] = np.sort(dead)[::-1]
        for run, ends in zip(of_arm, dead, strict=True):
            if ends:
                keep(run, run.tokens_P <= at_share(rng.uniform(0.2, 0.95)))

    return happen


def crashing_above(mean: float, arm: str = "dlm") -> Fault:
    """Every run of an arm that is worse than this on average crashes half-way: survivors look better than the arm."""

    def happen(_: np.random.Generator, runs: Runs) -> None:
        for key, run in runs.items():
            if key[0] == arm and run.value_P.mean() > mean:
                keep(run, run.tokens_P <= at_share(0.5))

    return happen


def begun_late(at: float, arm: str = "dlm") -> Fault:
    """One run lacks the points before a share of the log range."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        run = _one(rng, runs, arm)
        keep(run, run.tokens_P >= at_share(at))

    return happen


def copied(arm: str, runs_copied: int = 0, until: float = 1.0, jitter: float = 0.0) -> Fault:
    """Seeds of an arm are one run (0: all of them), up to a share of the points, but for a jitter."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        of_arm = [run for key, run in runs.items() if key[0] == arm]
        source = of_arm[0]
        last = int(until * source.value_P.size)
        for run in of_arm[1 : runs_copied or None]:
            run.value_P[:last] = source.value_P[:last] + jitter * rng.normal(size=last)

    return happen


def shared_error(sd: float, *, told: bool, arm: str = "dlm") -> Fault:
    """Frozen Monte Carlo draws: one error for all runs of an arm; told, the column stderr holds its size."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        error = sd * rng.normal()
        for key, run in runs.items():
            if key[0] == arm:
                run.value_P += error
                if told:
                    run.stderr_P[:] = sd

    return happen


def bound_above(by: float, arm: str = "dlm") -> Fault:
    """Values of an arm are a bound that lies above its loss."""

    def happen(_: np.random.Generator, runs: Runs) -> None:
        for key, run in runs.items():
            if key[0] == arm:
                run.value_P += by

    return happen


def none_before(tokens: float) -> Fault:
    """Both arms agree without any noise before a place: nothing is learnt there."""

    def happen(_: np.random.Generator, runs: Runs) -> None:
        first = runs[ARMS[0], 0]
        level = float(np.log(259)) if first.value_P[0] > 4 else 3.0
        for run in runs.values():
            run.value_P[run.tokens_P < tokens] = level

    return happen


def own_places(spread: float) -> Fault:
    """Every run is evaluated at places of its own, off by up to this share, and so ends at one of its own."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        for run in runs.values():
            run.tokens_P = np.sort(np.round(run.tokens_P * rng.uniform(1 - spread, 1 + spread, run.tokens_P.size)))

    return happen


def own_ends(spread: float) -> Fault:
    """Every run stops at a place of its own, up to this share of the tokens before the end, and is evaluated there."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        for run in runs.values():
            end = np.round(run.tokens_P[-1] * (1 - rng.uniform(0, spread)))
            keep(run, (run.tokens_P < end) | (np.arange(run.tokens_P.size) == run.tokens_P.size - 1))
            run.tokens_P[-1] = end

    return happen


def half_end(at: float, arm: str = "dlm") -> Fault:
    """Every second run of an arm was stopped at a share of the range."""

    def happen(_: np.random.Generator, runs: Runs) -> None:
        for (name, seed), run in runs.items():
            if name == arm and seed % 2:
                keep(run, run.tokens_P <= at_share(at))

    return happen


def rounded(to: float) -> Fault:
    """Values are logged with few digits: equal values under two seeds are no copies."""

    def happen(_: np.random.Generator, runs: Runs) -> None:
        for run in runs.values():
            run.value_P = np.round(run.value_P / to) * to

    return happen


def one_start(points: int = 1) -> Fault:
    """The runs of an arm begin from the same weights: their first values are equal."""

    def happen(_: np.random.Generator, runs: Runs) -> None:
        for (arm, _seed), run in runs.items():
            run.value_P[:points] = runs[arm, 0].value_P[:points]

    return happen


def same_runs(noise: float = 0.0) -> Fault:
    """The runs of both arms are the same ones: the flag of the family was not passed on."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        for (arm, seed), run in runs.items():
            if arm == ARMS[1]:
                run.value_P = runs[ARMS[0], seed].value_P + noise * rng.normal(size=run.value_P.size)

    return happen


def diverged(at: float, by: float, arm: str = "dlm") -> Fault:
    """One run diverges from a share of the range on, to finite values."""

    def happen(rng: np.random.Generator, runs: Runs) -> None:
        run = _one(rng, runs, arm)
        run.value_P[run.tokens_P >= at_share(at)] += by

    return happen
