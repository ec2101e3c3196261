"""Seed pairs are no experiment to offer where no number of them is expected to settle an answer."""

from __future__ import annotations

from crossover.analysis.across.budget_advice import advise
from crossover.analysis.across.next_experiments import without_edits
from tests.crossover.analysis_across.cells import cell

NONE = "none of up to 200 more pairs is expected to settle it"


def test_more_pairs_than_are_foreseen_are_not_offered_at_a_budget() -> None:
    """The difference near the crossing is about 0, and no number of pairs is expected to show on which side it is."""
    found = advise([cell(10**6, 10**6, 6.0, sd=0.2)], unique_tokens=10**6, parameters=10**6, epochs=5.0)
    assert (found.choose, found.cheapest, found.experiments) == ("cannot say", f"None is known: {NONE}.", ())
    assert f"which holds zero; {NONE}" in found.because
    assert without_edits(found) == found


def test_at_the_end_of_the_runs_longer_ones_are_offered_instead() -> None:
    facts, analysis = cell(10**6, 10**6, 6.0, sd=0.05)
    rows = [v.model_copy(update={"outcome": "insufficient evidence", "crossing": None}) for v in analysis.verdicts]
    analysis = analysis.model_copy(update={"verdicts": tuple(rows), "headline": rows[0]})
    found = advise([(facts, analysis)], unique_tokens=10**6, parameters=10**6)
    assert found.cheapest.startswith("Longer runs of 200 epochs, from zero (how long is not known)")
    assert not any("seed pairs" in experiment.what for experiment in found.experiments)
