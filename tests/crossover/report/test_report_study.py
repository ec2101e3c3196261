"""A study of several cells on one page, in Markdown and in JSON: advice, map, frontiers, factors, tasks, health."""

from __future__ import annotations

import pytest

from crossover.analysis.across.budget_advice import advise_all
from crossover.analysis.across.cross_cell_result import CellFacts, Constant, Factor, LawFit, NextRun, Overview
from crossover.analysis.across.crossing_regression import fit_movements
from crossover.analysis.analysis_result import Analysis, ItemTest
from crossover.report import CellReport, ReportContext, headline, render_html, render_markdown
from crossover.report.crossover_map import draw_map
from crossover.report.report_data import RunHealth, RunRow
from crossover.report.report_page import all_notes
from tests.crossover.analysis_across.cells import cell
from tests.crossover.report import html_reading as reading
from tests.crossover.report import report_samples as samples

BUDGETS = (10_000, 20_000, 40_000, 80_000)
MODEL = 1_000_000
HEALTH = RunHealth(
    attempts=3,
    tokens_per_second=51_234.0,
    mfu=0.314,
    gradient_norm=0.8,
    largest_gradient_norm=7.25,
    loss_spikes=2,
    not_finite=0,
)
ITEMS = ItemTest(
    task="domain-cloze",
    score="margin",
    baseline="ar",
    candidate="dlm",
    baseline_mean=0.5,
    baseline_stderr=0.03,
    candidate_mean=0.62,
    candidate_stderr=0.02,
    difference=0.12,
    stderr=0.03,
    interval=(0.05, 0.19),
    p=0.002,
    p_adjusted=0.004,
    pairs=5,
    items=640,
    clusters=64,
)


def whole() -> Overview:
    cells = [cell(tokens, MODEL, crossing=0.001 * tokens) for tokens in BUDGETS]
    ahead = [CellFacts(cell="", unique_tokens=tokens, parameters=MODEL) for tokens in (10_000, 40_000, 160_000)]
    return Overview(
        movements=fit_movements(cells, forecasts=ahead),
        advice=advise_all(cells),
        factors=(
            Factor(
                name="any-order modelling",
                metric="loss",
                arm="dlm-fixed-order",
                gap=-0.11,
                gap_interval=(-0.13, -0.09),
                closed=0.57,
                closed_interval=(0.5, None),
                pairs=5,
                reason="Arm dlm-fixed-order gives up 0.57 of the gap.",
            ),
        ),
        laws=(
            LawFit(
                arm="ar",
                form="monotone",
                constants=(Constant(name="R_D*", value=15.4, low=12.0, high=20.1),),
                runs=20,
                points=340,
                error=0.004,
                held_out_error=0.0061,
                best=True,
                reason="Fitted to 340 points.",
            ),
        ),
        next_runs=(NextRun(cell="u80000", arm="dlm", seed=5, cost=0.4, gain=0.1, reason="31% to settle."),),
    )


@pytest.fixture(scope="module")
def study() -> ReportContext:
    reports = []
    for tokens in BUDGETS:
        facts, analysis = cell(tokens, MODEL, crossing=0.001 * tokens)
        reports.append(_report(facts, analysis.model_copy(update={"items": (ITEMS,)})))
    return samples.context(*reports).model_copy(update={"overview": whole()})


def _report(facts: CellFacts, analysis: Analysis) -> CellReport:
    run = RunRow(
        arm="ar", seed=0, run_key=f"{facts.cell}/ar/0", steps=10, tokens=100, flops=1e9, seconds=3.0, health=HEALTH
    )
    return CellReport(
        cell=facts.cell,
        unique_tokens=facts.unique_tokens,
        parameters=facts.parameters,
        model="tiny",
        analysis=analysis,
        runs=(run,),
    )


@pytest.fixture(scope="module")
def page(study: ReportContext) -> str:
    return render_html(study)


def test_its_parts_come_in_the_order_in_which_one_asks(page: str) -> None:
    marks = ("answer in each cell", "What to choose", "All verdicts on DLM", "Curves and their", "Tasks, item by item")
    more = (
        "How the crossing moves",
        "Where the gap comes from",
        "Scaling laws",
        "What to run next",
        "How the runs went",
    )
    text = reading.words(page[page.index("<main>") :])
    places = [text.index(mark) for mark in (*marks, *more, "Where it comes from", "How it was done")]
    assert places == sorted(places)


def test_it_is_well_formed_and_every_reference_resolves(page: str) -> None:
    outline = reading.read(page)
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert max(b - a for a, b in zip(outline.headings, outline.headings[1:], strict=False)) <= 1


def test_the_map_draws_every_crossing_with_the_fit(page: str, study: ReportContext) -> None:
    figure = page[page.index('<figure id="map0"') :]
    figure = figure[: figure.index("</figure>")]
    text = reading.words(figure)
    movement = study.overview.movements[0]
    for found in movement.cells:
        assert found.facts.cell in text
    assert "extrapolated" in text and "160 k" in text
    assert figure.count('stroke-dasharray="5,3"') == 2, "the fitted line, wide and narrow"
    slope = movement.slopes[0]
    assert f"{slope.estimate:+.2f}" in reading.words(page)


def test_the_map_names_tiers_alone_where_models_do_not_differ(study: ReportContext) -> None:
    """With the parameters before them the names would be cut at the edge of a picture."""
    movement = study.overview.movements[0]
    facts = [c.facts.model_copy(update={"quality": ("low", "high")[i % 2]}) for i, c in enumerate(movement.cells)]

    def names(sizes: tuple[int, ...]) -> set[str]:
        cells = [
            c.model_copy(update={"facts": f.model_copy(update={"parameters": sizes[i % len(sizes)]})})
            for i, (c, f) in enumerate(zip(movement.cells, facts, strict=True))
        ]
        drawn = draw_map(movement.model_copy(update={"cells": tuple(cells), "forecasts": ()}), width=400, height=300)
        assert drawn is not None
        values = [row for layer in drawn["layer"] for row in layer["data"]["values"]]
        return {row["text"] for row in values if "text" in row}

    assert names((1_000_000,)) == {"quality low", "quality high"}
    assert names((1_000_000, 2_000_000)) == {"1.00 M parameters, quality low", "2.00 M parameters, quality high"}


def test_every_part_says_its_figures(page: str) -> None:
    text = reading.words(page)
    for figure in ("57 % (50 % … unbounded)", "R_D* = 15.4 (12 – 20.1)", "0.0061", "31% to settle", "7.250", "31.4 %"):
        assert figure in text
    for figure in ("0.620 ± 0.020", "+0.120 (+0.050 … +0.190)", "0.004", "640", "51.2 k"):
        assert figure in text


def test_edits_of_the_study_are_set_as_code_and_stay_escaped(study: ReportContext) -> None:
    advice = study.overview.advice[0].model_copy(update={"cheapest": "Longer (`epochs: <16>`), or `half"})
    edited = study.model_copy(update={"overview": study.overview.model_copy(update={"advice": (advice,)})})
    assert "Longer (<code>epochs: &lt;16&gt;</code>), or `half" in render_html(edited)
    assert "cheapest first: Longer (`epochs: <16>`), or \\`half" in render_markdown(edited)


def test_a_note_of_some_cells_names_them(study: ReportContext) -> None:
    def noted(report: CellReport, *notes: str) -> CellReport:
        return report.model_copy(update={"analysis": report.analysis.model_copy(update={"notes": notes})})

    first, *others = study.cells
    both = study.model_copy(
        update={"cells": (noted(first, "Noisy.", "Common."), *(noted(c, "Common.") for c in others))}
    )
    assert all_notes(both) == (*study.notes, f"{first.cell}: Noisy.", "Common.")


def test_markdown_and_json_hold_the_same(study: ReportContext) -> None:
    text = render_markdown(study)
    for part in (
        "How the crossing moves",
        "log unique tokens",
        "any-order modelling",
        "R\\_D\\* = 15.4",
        "domain-cloze",
    ):
        assert part in text
    assert "What could change this, cheapest first" in text
    assert ReportContext.model_validate_json(study.model_dump_json()) == study


def test_the_terminal_says_how_the_crossing_moves(study: ReportContext) -> None:
    lines = headline(study)
    slope = study.overview.movements[0].slopes[0]
    assert f"MOVES: the log of the crossing by {slope.estimate:+.2f} with log unique tokens" in lines


def test_curves_without_a_study_have_a_page_too(study: ReportContext) -> None:
    facts = {"unique_tokens": None, "parameters": None, "model": "", "runs": ()}
    bare = study.model_copy(
        update={
            "cells": (study.cells[0].model_copy(update=facts),),
            "overview": Overview(),
            "corpus": None,
            "training": (),
            "samples": {},
        }
    )
    page = render_html(bare)
    outline = reading.read(page)
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert "Corpus" not in reading.words(page)
    assert "What to choose" not in reading.words(page)
    assert "Source" not in render_markdown(bare)
    for text in (reading.words(page), render_markdown(bare)):
        assert "The curves were given" in text
        assert "AR likelihoods are exact" not in text and "autoregressive likelihood is exact" not in text
