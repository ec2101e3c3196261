"""What becomes of a study that follows its advice: how often it is settled then, and how often falsely.

A study of a few seed pairs is judged at alpha. If that is insufficient evidence, the pairs that its verdict asks for
are added, with looks declared as it says, and it is judged again; and so on until it is settled, no number is said
any more, or it has been judged `MOST_JUDGEMENTS` times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.calibration.detectors import PLAN, SCALE, markdown
from benchmarks.simulations.simulated_curves import NOISES, SCENARIOS, Noise, Scenario, differences, grid, study_table
from crossover.analysis import analyse
from crossover.analysis.across.budget_advice import advise
from crossover.analysis.across.cross_cell_result import CellFacts
from crossover.analysis.analysis_plan import Axis
from crossover.analysis.curve_columns import FloatArray
from crossover.analysis.inference.further_evidence import MOST_FURTHER_PAIRS, further_pairs
from crossover.analysis.inference.verdict_rules import Evidence, decide, gather

PAIRS = (5, 8)
MOST_JUDGEMENTS = 4
BUDGETS = (3.0, 8.0, 20.0, 50.0)
"""Epochs, in runs of 1 to 100."""
TRUTHS = tuple(s for s in SCENARIOS if s.name.startswith(("identical", "parallel", "crossing, ", "crossing steep")))
NULL = SCENARIOS[0]
_WINNERS = ("baseline", "candidate")


@dataclass(frozen=True)
class Course:
    """What a study said at each of its judgements."""

    outcomes: tuple[str, ...]
    invited: bool
    """Whether the first judgement asked for a number of pairs."""


def _judged(difference_SG: FloatArray, looks: tuple[int, ...]) -> tuple[str, Evidence, int | None]:
    plan = PLAN.model_copy(update={"looks": looks, "spending": "added" if looks else "pocock"})
    metric = plan.metrics[0]
    evidence = gather(grid(difference_SG.shape[1]), difference_SG, metric, plan, scale=SCALE)
    outcome = decide(evidence, evidence.raw, metric, plan).outcome
    if outcome != "insufficient evidence":
        return outcome, evidence, None
    return outcome, evidence, further_pairs(evidence.early, evidence.late, delta=metric.delta, plan=plan)


def follow(rng: np.random.Generator, scenario: Scenario, pairs: int, noise: Noise, judgements: int) -> Course:
    """One study that does as it is told."""
    difference_SG = differences(rng, scenario, pairs, noise=noise)
    outcome, _, further = _judged(difference_SG, ())
    looks: tuple[int, ...] = (pairs,)
    outcomes, invited = [outcome], further is not None
    while further is not None and len(outcomes) < judgements and len(difference_SG) < pairs + MOST_FURTHER_PAIRS:
        added_SG = differences(rng, scenario, further, noise=noise)
        difference_SG = np.concatenate((difference_SG, added_SG))
        looks = (*looks, len(difference_SG))
        outcome, _, further = _judged(difference_SG, looks)
        outcomes.append(outcome)
    return Course(tuple(outcomes), invited)


def settled(noise: Noise, pairs: int, repeats: int) -> tuple[float, float]:
    """Of the studies that were told a number: the share that it settles, over four truths; the share told one."""
    rng = np.random.default_rng([20261128, pairs, NOISES.index(noise)])
    courses = [follow(rng, TRUTHS[i % len(TRUTHS)], pairs, noise, 2) for i in range(repeats)]
    told = [course for course in courses if course.invited]
    unsettled = sum(course.outcomes[0] == "insufficient evidence" for course in courses)
    hits = [course.outcomes[-1] != "insufficient evidence" for course in told]
    return (float(np.mean(hits)) if hits else float("nan")), len(told) / max(1, unsettled)


def false_winners(noise: Noise, pairs: int, repeats: int) -> tuple[float, float, float]:
    """Of equal arms: false winners at the first judgement, in the end, and of the studies that followed the advice."""
    rng = np.random.default_rng([20261129, pairs, NOISES.index(noise)])
    courses = [follow(rng, NULL, pairs, noise, MOST_JUDGEMENTS) for _ in range(repeats)]
    followed = [course.outcomes[-1] in _WINNERS for course in courses if course.invited]
    first = float(np.mean([course.outcomes[0] in _WINNERS for course in courses]))
    last = float(np.mean([course.outcomes[-1] in _WINNERS for course in courses]))
    return first, last, float(np.mean(followed)) if followed else float("nan")


def wrong_choices(pairs: int, repeats: int, axes: tuple[Axis, ...]) -> tuple[float, float]:
    """Of equal arms: studies in which `advise` chooses one at any of four budgets, and at the end; either half."""
    plan = PLAN.model_copy(update={"axes": axes, "comparisons": ("matched", "best-so-far")})
    facts, hits = CellFacts(cell="", unique_tokens=10_000, parameters=1), []
    for i in range(repeats):
        rng = np.random.default_rng([20261130, pairs, i])
        analysis = analyse(study_table(rng, NULL, pairs, points=24), plan, unique_tokens=10_000)
        found = [
            advise([(facts, analysis)], unique_tokens=10_000, parameters=1, epochs=epochs)
            for epochs in (*BUDGETS, None)
        ]
        chosen = [{a.choose, a.trained_to_end.choose if a.trained_to_end else a.choose} for a in found]
        wrong = [bool(choices & set(_WINNERS)) for choices in chosen]
        hits.append((any(wrong[:-1]), wrong[-1]))
    return float(np.mean([early for early, _ in hits])), float(np.mean([end for _, end in hits]))


def advise_table(repeats: int) -> str:
    """Wrong choices by the seed pairs and the axes that the plan pays for."""
    every: tuple[tuple[Axis, ...], ...] = (("epochs",), ("epochs", "flops", "seconds"))
    rows = []
    for axes in every:
        for pairs in (*PAIRS, 12):
            inside, end = wrong_choices(pairs, repeats, axes)
            rows.append([str(len(axes)), str(pairs), f"{inside:.3f}", f"{end:.3f}"])
    return markdown(["axes", "seed pairs", "wrong at any of four budgets, either half", "wrong at the end"], rows)


def table(repeats: int) -> str:
    """Both, by the kind of noise and the seed pairs of the first judgement."""
    rows = []
    for noise in NOISES:
        for pairs in PAIRS:
            share, told = settled(noise, pairs, repeats)
            wrong = false_winners(noise, pairs, repeats)
            rows.append([noise.name, str(pairs), f"{told:.2f}", f"{share:.2f}", *(f"{rate:.3f}" for rate in wrong)])
    head = ["noise", "seed pairs", "told a number", "settled with it (said: 0.8)", "false winner at first"]
    return markdown([*head, "in the end, advice followed", "of those that followed it"], rows)


if __name__ == "__main__":
    print(table(1000), advise_table(400), sep="\n\n")
