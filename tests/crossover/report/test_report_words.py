"""The words: terminal lines, Markdown, numbers, and what would change the answer."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest

from crossover.analysis.across.cross_cell_result import Advice, Basis, CellFacts, Choice, TrainedToEnd
from crossover.report import (
    Sample,
    answer,
    because,
    choice_sentence,
    figure_scales,
    headline,
    number_formats,
    render_markdown,
    report_tables,
    verdict_lines,
)
from crossover.report.answer import STOPPED, TRAINED
from tests.crossover.report import report_samples as samples

BOTH = "Choose DLM, whether you may stop early or train to the end"


def test_the_headline_says_the_answer_each_half_the_seeds_and_further_metrics() -> None:
    answered, *lines = headline(samples.context())
    assert answered == ("ANSWER: Choose AR if you may stop early; DLM if you train past epoch 57.3 (51.0 – 64.2).")
    assert lines[0] == (
        "TRAINED TO THE END: the DLM's upper bound falls below AR's loss at epoch 57.3 (95 % interval 51.0 – 64.2); "
        "its loss does so no later, validation loss (δ = 0.02 nats/token), matched tokens, 5 seed pairs"
    )
    assert lines[1].startswith("LATE DIFFERENCE BY SEED PAIR: seed 0 −0.332, seed 1 −0.312, seed 2 −0.292")
    assert lines[2].startswith(
        "STOPPED EARLY: AR's loss is below the DLM's upper bound (late window, DLM − AR: +0.052 (+0.011 … +0.093))"
    )
    assert lines[3].startswith("FURTHER METRIC: crossover AR→DLM at epoch 57.3")
    assert "cloze accuracy (δ = 0.01)" in lines[3]
    assert len(lines) == 4


def test_the_headline_of_insufficient_evidence_has_the_obstacle_and_counts_the_missing_pairs() -> None:
    row = samples.verdict(samples.LOSS.name, outcome="insufficient evidence", pairs=3, further_pairs=4)
    verdict = row.model_copy(update={"obstacle": "crossing near the end: run longer", "further_pairs_range": (2, None)})
    for one, answered, words in (
        (row, "Insufficient evidence", "insufficient evidence, validation loss"),
        (
            verdict,
            "Insufficient evidence: crossing near the end: run longer",
            "insufficient evidence: crossing near the end: run longer, validation loss",
        ),
    ):
        lines = headline(samples.context(samples.cell(the_analysis=samples.analysis(rows=(one,), figures=()))))
        assert lines[0] == f"ANSWER: {answered}."
        assert lines[1].startswith(f"TRAINED TO THE END: {words} (δ = 0.02 nats/token), matched tokens, 3 seed pairs")
    assert lines[1].endswith("; about 4 (2 to beyond reach) more would settle it with 80 % power")


def test_the_headline_says_no_difference_with_delta_and_unbounded() -> None:
    none = samples.verdict(samples.LOSS.name, outcome="equivalent")
    open_ = samples.verdict(samples.CLOZE.name, found=samples.crossing("epochs", low=None, high=None))
    lines = headline(samples.context(samples.cell(the_analysis=samples.analysis(rows=(none, open_), figures=()))))
    assert lines[0] == (
        "ANSWER: Choose either if you train to the end, with no difference that matters (δ = 0.02 nats/token)."
    )
    assert lines[1].startswith("TRAINED TO THE END: no difference that matters (δ = 0.02 nats/token), validation loss,")
    assert "(95 % interval unbounded)" in lines[-1]


def test_the_headline_names_the_cell_when_there_are_several() -> None:
    one = samples.cell("U1M", samples.analysis(figures=()))
    two = samples.cell("U4M", samples.analysis(figures=()))
    lines = headline(samples.context(one, two))
    assert len(lines) == 10
    assert lines[5].startswith("[U4M] ANSWER: ")
    assert lines[6].startswith("[U4M] TRAINED TO THE END: ")


@pytest.mark.parametrize(
    ("matched", "stopped", "choice"),
    [
        ({"outcome": "candidate"}, {"outcome": "candidate"}, BOTH),
        (
            {"outcome": "insufficient evidence"},
            {"outcome": "equivalent"},
            "Choose either if you may stop early, with no difference that matters (δ = 0.02 nats/token); not known yet",
        ),
        (
            {"outcome": "crossover", "found": None},
            {"outcome": "baseline"},
            "Choose AR if you may stop early; DLM if you train to the end",
        ),
    ],
)
def test_the_choice_with_early_stopping_and_without(
    matched: dict[str, Any], stopped: dict[str, Any], choice: str
) -> None:
    rows = (
        samples.verdict(samples.LOSS.name, **matched),
        samples.verdict(samples.LOSS.name, comparison="best-so-far", **stopped),
    )
    assert choice in answer(samples.analysis(rows=rows, figures=()))


@pytest.mark.parametrize(
    ("basis", "choose", "late", "sentence"),
    [
        ("interval", "candidate", "baseline", "Choose DLM if you may stop early; AR if you train to the end."),
        ("interval", "candidate", "candidate", f"{BOTH}."),
        (
            "interval",
            "candidate",
            "cannot say",
            f"Choose DLM {STOPPED}; not known yet {TRAINED}.",
        ),
        ("interval", "either", None, "Choose either."),
        ("forecast", "candidate", None, "Choose DLM."),
        ("not tested", "cannot say", None, "Cannot say yet."),
        (
            "verdict",
            "baseline",
            "candidate",
            "Choose AR if you may stop early; DLM if you train past epoch 57.3 (51.0 – 64.2).",
        ),
    ],
)
def test_the_choice_has_both_halves_where_they_were_measured(
    basis: Basis, choose: Choice, late: Choice | None, sentence: str
) -> None:
    context = samples.context()
    facts = CellFacts(cell=context.cells[0].cell, unique_tokens=10**6, parameters=10**7)
    overview = context.overview.model_copy(update={"cells": (facts,)})
    advice = Advice(
        unique_tokens=10**6,
        parameters=10**7,
        flops=1e15,
        basis=basis,
        choose=choose,
        baseline="ar",
        candidate="dlm",
        metric=samples.LOSS.name,
        comparison="best-so-far",
        difference=None,
        interval=None,
        trained_to_end=TrainedToEnd(choose=late, baseline="ar", difference=None, interval=None) if late else None,
        because="Measured.",
        cheapest="",
    )
    context = context.model_copy(update={"overview": overview})
    assert choice_sentence(context, advice) == sentence
    bound = " DLM's validation loss is an upper bound (NELBO): the exact one is as low or lower."
    assert because(context, advice) == "Measured." + bound * (basis != "not tested")


def test_a_crossing_the_other_way_names_the_other_winner() -> None:
    found = samples.crossing("epochs").model_copy(update={"direction": "candidate→baseline"})
    row = samples.verdict(samples.LOSS.name, found=found)
    assert verdict_lines.statement(samples.analysis(figures=()), row) == (
        "The DLM's upper bound rises above AR's loss at epoch 57.3; its loss does so no earlier, if at all"
    )
    exact = row.model_copy(update={"metric": samples.CLOZE.name})
    assert verdict_lines.statement(samples.analysis(figures=()), exact) == "AR overtakes DLM at epoch 57.3"


def test_what_would_change_the_answer() -> None:
    tuned = samples.verdict(samples.LOSS.name, outcome="baseline", baseline="ar-dropout")
    rows = (*samples.verdicts(), tuned)
    said = verdict_lines.what_would_change_it(samples.cell(the_analysis=samples.analysis(rows=rows, figures=())))
    assert not any("early stopping" in text for text in said), "the answer has both halves"
    assert "Against AR dropout: AR dropout's loss is below the DLM's upper bound." in said
    assert "The same answer when counted in FLOPs, when counted in seconds." in said
    assert said[-1].startswith("Not tested: ")


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, "None of up to 200 more pairs is expected to settle it."),
        ({"further_pairs": 4}, "About 4 further seed pairs would settle it with 80 % power, at the variance seen."),
        ({"drawn_pairs": 4}, "About 4 further seed pairs with many more masks would settle it with 80 % power."),
        ({"late": None}, "More seed pairs; how many cannot be said from the variance seen."),
    ],
)
def test_what_more_pairs_would_do_to_an_open_verdict(known: dict[str, object], said: str) -> None:
    late = samples.window("epochs", 90.4, 200, 0.01)
    row = samples.verdict(samples.LOSS.name, outcome="insufficient evidence").model_copy(update={"late": late} | known)
    cell = samples.cell(the_analysis=samples.analysis(rows=(row,), figures=()))
    assert verdict_lines.what_would_change_it(cell)[0] == said


def test_where_an_arm_was_best_is_in_tokens_where_no_epoch_is_known() -> None:
    known = samples.analysis()
    row = known.summaries[0].model_copy(update={"best_at_epoch": None, "best_at_tokens": 1.23e6})
    neither = row.model_copy(update={"best_at_tokens": None})
    for summaries, title, cells in (
        (known.summaries[:1], "Best at epoch (median)", ["34.5"]),
        ((row, neither), "Best at tokens (median)", ["1.23 M", "unknown"]),
    ):
        analysis = known.model_copy(update={"summaries": summaries})
        table = report_tables.summary(samples.context(samples.cell(the_analysis=analysis)), analysis)
        assert [line[table.head.index(title)] for line in table.rows] == cells


def test_markdown_holds_the_verdicts_and_no_markup_of_others() -> None:
    evil = "<b>|x|</b>\n# no `heading`"
    cell = samples.cell(the_analysis=samples.analysis(figures=()))
    text = render_markdown(samples.context(cell, samples={"dlm": (Sample(prompt=evil, completion=evil),)}))
    for figure in ("epoch 57.3", "51.0 – 64.2", "+0.481", "0.00084", "upper bound", "sha256:9a7e", "v\\_verdicts"):
        assert figure in text or figure.replace("\\", "") in text
    assert "<b>" not in text
    assert "\n# no" not in text
    rows = [line for line in text.splitlines() if line.startswith("| Validation loss | ")]
    widths = {row.count(" | ") for row in rows}
    assert len(widths) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.14159, "3.142"),
        (-0.0512, "−0.051"),
        (42.123, "42.12"),
        (1234.56, "1234.6"),
        (0.00012, "1.20 × 10⁻⁴"),
        (0, "0.000"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number_formats.number(value) == text


def test_places_on_axes() -> None:
    assert number_formats.axis_place("tokens", 57_310_000) == "57.3 M tokens"
    assert number_formats.axis_place("flops", 9.999e17) == "1.00 × 10¹⁸ FLOPs"
    assert number_formats.axis_place("seconds", 3 * 86400) == "3.00 d of training"
    assert number_formats.axis_interval("epochs", None, 7.25) == "unbounded – 7.25"
    assert number_formats.axis_interval("flops", 3.2e15, 4e15) == "3.20 – 4.00 × 10¹⁵"
    assert number_formats.axis_interval("seconds", 80, 7300) == "80.0 s – 2.03 h"
    assert number_formats.p_value(0.00001) == "< 0.0001"
    assert number_formats.short("sha256:" + "a" * 64) == "sha256:" + "a" * 12


@pytest.mark.parametrize(("low", "high"), [(1, 200), (1e15, 3e18), (3.0, 4.0), (0.9, 1.1), (1, 1e12), (7, 7.01)])
def test_log_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    ticks = figure_scales.log_ticks(low, high, most=8)
    assert len(ticks) <= 8
    assert all(low <= t <= high for t in ticks)
    assert len(ticks) >= 2


def test_epochs_get_ticks_at_one_two_five() -> None:
    assert figure_scales.log_ticks(1, 200, most=8) == [1, 2, 5, 10, 20, 50, 100, 200]


def test_labels_move_apart_and_keep_their_order() -> None:
    placed = figure_scales.dodge([1.0, 1.01, 0.99], (0.0, 2.0), height=200, gap=14)
    order = sorted(placed)
    assert order == [placed[2], placed[0], placed[1]]
    assert min(b - a for a, b in pairwise(order)) >= 0.14 * (1 - 1e-6)


def test_importing_the_report_is_light() -> None:
    code = (
        "import sys, crossover.report; "
        "print(sorted({'altair', 'vl_convert', 'jinja2', 'pandas', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
