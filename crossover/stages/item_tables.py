"""Per-item scores of a cell's runs as the tables that the analysis tests over seed pairs and clusters of items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.inference.item_tests import ItemTable
from crossover.evaluation.evaluation_records import Evaluation, ItemScores
from crossover.stages.stage_manifests import RunRef


def item_tables(runs: Sequence[tuple[RunRef, Sequence[Evaluation]]], plan: AnalysisPlan) -> list[ItemTable]:
    """Both arms' scores on the same items, of each task at the last checkpoint that measured it.

    Args:
        runs: the runs of one cell with their evaluations.
        plan: names the two arms.

    Returns:
        For each task `accuracy`, and `margin` where it is a choice. Seeds that only one arm has are left out, and so
        is a task of which two runs answered other items.
    """
    by_run = {(run.id.arm, run.id.seed): _last_items(results) for run, results in runs}
    seeds = sorted({s for a, s in by_run if a == plan.baseline} & {s for a, s in by_run if a == plan.candidate})
    pairs = [(by_run[plan.baseline, seed], by_run[plan.candidate, seed]) for seed in seeds]
    tables: list[ItemTable] = []
    for task in sorted(set.intersection(*(set(side) for pair in pairs for side in pair)) if pairs else ()):
        answered = [(baseline[task], candidate[task]) for baseline, candidate in pairs]
        first = answered[0][0]
        if any(side.ids != first.ids for pair in answered for side in pair):
            continue
        clusters = first.clusters or first.ids
        for score in ("accuracy", "margin"):
            sides = [np.array([_scores(pair[i], score) for pair in answered]) for i in (0, 1)]
            if sides[0].size and sides[0].shape == sides[1].shape and np.isfinite(sides).all():
                tables.append(ItemTable(task, score, clusters, sides[0], sides[1]))
    return tables


def _last_items(results: Sequence[Evaluation]) -> dict[str, ItemScores]:
    return {items.task: items for result in sorted(results, key=lambda r: r.step) for items in result.items}


def _scores(items: ItemScores, score: str) -> tuple[float, ...]:
    return items.correct if score == "accuracy" else items.margins
