"""What the registry keeps of a study as a whole: everything of the overview, each frontier once."""

from __future__ import annotations

from crossover.analysis.across.cross_cell_result import Advice, Frontier, Overview
from crossover.report.report_data import Reference, RunHealth
from crossover.report.study_record import OVERVIEW, StudyRecord, study_records
from tests.crossover.report import report_samples as samples

HEALTH = RunHealth(
    attempts=2,
    tokens_per_second=1e4,
    mfu=None,
    gradient_norm=0.5,
    largest_gradient_norm=3.0,
    loss_spikes=1,
    not_finite=0,
)


def test_the_record_and_the_frontiers_are_the_whole_overview() -> None:
    advice = Advice(
        unique_tokens=100,
        parameters=10,
        flops=None,
        choose="candidate",
        baseline="ar",
        candidate="dlm",
        metric="loss",
        comparison="best-so-far",
        difference=None,
        interval=None,
        because="So it is.",
        cheapest="More seeds.",
    )
    frontier = Frontier(unique_tokens=100, cells=("a", "b"), analysis=samples.analysis())
    overview = Overview(frontiers=(frontier,), advice=(advice,), notes=("n",))
    made = samples.context()
    runs = (made.cells[0].runs[0].model_copy(update={"health": HEALTH}), *made.cells[0].runs[1:])
    cells = (made.cells[0].model_copy(update={"runs": runs}), *made.cells[1:])
    report = made.model_copy(
        update={"overview": overview, "cells": cells, "references": (Reference(label="gzip", value="2"),)}
    )

    found = dict(study_records(report))
    record = StudyRecord.model_validate(found.pop(OVERVIEW))

    assert found == {"u100-frontier": frontier.analysis.model_dump(mode="json")}
    assert [(f.name, f.unique_tokens, f.cells) for f in record.frontiers] == [("u100-frontier", 100, ("a", "b"))]
    assert record.overview == overview.model_copy(update={"frontiers": ()})
    assert [(h.cell, h.arm, h.seed, h.health) for h in record.health] == [
        (cells[0].cell, runs[0].arm, runs[0].seed, HEALTH)
    ]
    assert record.references == (Reference(label="gzip", value="2"),)
    assert record.verdicts == ()
