"""Per-item scores of runs as the tables that the analysis tests."""

from __future__ import annotations

from crossover.evaluation.evaluation_records import Evaluation, ItemScores
from crossover.stages.item_tables import item_tables
from crossover.stages.stage_manifests import RunRef
from crossover.study.identity import RunId
from crossover.study.study_config import StudyConfig

PLAN = StudyConfig().analysis


def scores(task: str, correct: tuple[float, ...], *, margins: tuple[float, ...] = (), ids: str = "abc") -> ItemScores:
    return ItemScores(
        task=task, ids=tuple(ids), clusters=("x", "x", "y"), correct=correct, margins=margins, option_nll=()
    )


def evaluation(step: int, *items: ItemScores) -> Evaluation:
    return Evaluation(checkpoint="c", step=step, tokens=step, flops=1.0, seconds=1.0, measurements=(), items=items)


def run(arm: str, seed: int, *results: Evaluation) -> tuple[RunRef, list[Evaluation]]:
    return RunRef(id=RunId("u10-pico", arm, seed), digest="sha256:r", checkpoints=()), list(results)


def test_the_last_checkpoint_of_both_arms_counts() -> None:
    runs = [
        run("ar", 0, evaluation(2, scores("t", (1, 0, 0))), evaluation(1, scores("t", (0, 0, 0)))),
        run("dlm", 0, evaluation(1, scores("t", (1, 1, 0)))),
        run("ar", 1, evaluation(1, scores("t", (0, 1, 1)))),
        run("dlm", 1, evaluation(1, scores("t", (1, 1, 1)))),
        run("ar", 2, evaluation(1, scores("t", (0, 1, 1)))),  # its pair is missing
        run("ar-decay", 0, evaluation(1, scores("t", (0, 0, 0)))),  # not compared
    ]
    (table,) = item_tables(runs, PLAN)
    assert (table.task, table.score, table.clusters) == ("t", "accuracy", ("x", "x", "y"))
    assert table.baseline_SI.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert table.candidate_SI.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_choices_have_margins_too_and_other_items_are_left_out() -> None:
    first = (scores("a", (1, 1, 0), margins=(0.5, 0.1, -0.2)), scores("b", (1, 1, 0)), scores("only", (1, 1, 1)))
    second = (scores("a", (0, 1, 0), margins=(0.4, 0.1, -0.3)), scores("b", (1, 1, 0), ids="abd"))
    found = item_tables([run("ar", 0, evaluation(1, *first)), run("dlm", 0, evaluation(1, *second))], PLAN)
    assert [(table.task, table.score) for table in found] == [("a", "accuracy"), ("a", "margin")]
    assert found[1].candidate_SI.tolist() == [[0.4, 0.1, -0.3]]
    assert item_tables([], PLAN) == []
