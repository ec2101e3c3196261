"""One answer, the same in terminal, Markdown, page, decision and the registry's list, for every pair of outcomes."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
from crossover_services.registry import page_words

from crossover.analysis.across.choice_by_verdicts import choice_by_verdicts
from crossover.analysis.analysis_plan import AnalysisPlan, Comparison, MetricPlan
from crossover.analysis.analysis_result import Analysis, Crossing, Direction, Outcome, Verdict
from crossover.analysis.arm_labels import arm_label
from crossover.commands.analyse_command import print_judged
from crossover.curve_files import CellCurves
from crossover.report import answer, headline, report_view, verdict_lines
from crossover.report.report_markdown import _text, render_markdown
from crossover.report.report_page import render_html
from crossover.stages.promotion_decision import PromotionDecision, decide_promotion
from tests.crossover.report import html_reading as reading
from tests.crossover.report import report_samples as samples
from tests.crossover.stages import test_promotion_decision as promotions

Half = tuple[Outcome, Direction | None]
HALVES: tuple[Half, ...] = (
    ("baseline", None),
    ("candidate", None),
    ("equivalent", None),
    ("insufficient evidence", None),
    ("crossover", None),
    ("crossover", "baseline→candidate"),
    ("crossover", "candidate→baseline"),
)
EXACT = MetricPlan(name="validation_bpb", direction="lower", delta=0.02, unit="bits/byte", exact=True)
BOUND = EXACT.model_copy(update={"exact": None})
_WINNER = re.compile(r"(?:tuned )?\b(?:AR|DLM)\b is better|overtakes|'s loss is below")


def verdict(half: Half, comparison: Comparison) -> Verdict:
    outcome, direction = half
    made = samples.verdict(EXACT.name, comparison=comparison, outcome=outcome)
    if direction is None:
        return made
    crossing: Crossing = samples.crossing("epochs").model_copy(update={"direction": direction})
    return made.model_copy(update={"crossing": crossing})


def analysis(matched: Half, stopped: Half, metric: MetricPlan = EXACT) -> Analysis:
    plan = AnalysisPlan(metrics=(metric,), axes=("epochs",))
    rows = (verdict(matched, "matched"), verdict(stopped, "best-so-far"))
    made = samples.analysis(rows=rows, figures=())
    return made.model_copy(update={"plan": plan, "summaries": ()})


def decided(made: Analysis) -> PromotionDecision:
    study = promotions.study_of()
    return decide_promotion(study, promotions.runs_of(study), {promotions.CELL: made}, promotion="verdict")


def columns(row: Verdict) -> dict[str, Any]:
    """The columns of the registry."""
    crossing = row.crossing.model_dump() if row.crossing else {}
    places = {f"crossing_{end}": crossing.get(end) for end in ("at", "low", "high")}
    return row.model_dump() | {"direction": crossing.get("direction")} | places


@pytest.mark.parametrize("metric", [EXACT, BOUND], ids=["exact", "bound"])
@pytest.mark.parametrize(("matched", "stopped"), list(product(HALVES, HALVES)))
def test_one_sentence_everywhere(
    matched: Half, stopped: Half, metric: MetricPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    made = analysis(matched, stopped, metric)
    said = answer(made)
    context = samples.context(samples.cell(the_analysis=made))
    terminal = headline(context)
    assert terminal[0] == f"ANSWER: {said}."
    print_judged([(CellCurves("", {}, None, None, ()), made)], None)
    assert capsys.readouterr().out.splitlines()[0] == f"ANSWER: {said}."
    markdown = render_markdown(context)
    assert re.search(rf"^## .*: {re.escape(_text(said))}$", markdown, re.M)
    assert report_view.build(context)[0].verdict == said
    decision = decided(made)
    assert decision.reason.startswith(f"{said}. One checkpoint is served, so this follows the half with early stopping")
    if (*matched, *stopped).count("crossover") == sum(half[1] is not None for half in (matched, stopped)):
        words = page_words.headline_words(made.plan, columns(made.verdicts[0]), [columns(made.verdicts[1])])
        assert words.statement == said  # the columns lack the late mean of a crossing that is not located
    assert_nothing_contradicts(made, terminal, decision)


def assert_nothing_contradicts(made: Analysis, terminal: list[str], decision: PromotionDecision) -> None:
    """Whoever is said to win is said so under the half's name, and the decision serves the early half's arm."""
    for line in terminal[1:]:
        if _WINNER.search(line):
            assert line.startswith(("TRAINED TO THE END: ", "STOPPED EARLY: "))
    early = choice_by_verdicts(made, EXACT.name, "epochs", "best-so-far")
    assert early is not None
    served = {"baseline": "ar", "candidate": "dlm"}.get(early.choose)
    assert served is None or decision.winner.run.arm == served
    assert decision.promote == (early.choose != "cannot say")
    if served:
        assert re.search(rf"\b{arm_label(served)}\b", answer(made))
        other = "DLM" if served == "ar" else "AR"
        assert f"Choose {other} if you may stop early" not in answer(made)


@pytest.mark.parametrize(("matched", "stopped"), [(HALVES[5], HALVES[0]), (HALVES[1], HALVES[0])])
def test_the_page_has_it_as_title_and_headline(matched: Half, stopped: Half) -> None:
    made = analysis(matched, stopped)
    page = render_html(samples.context(samples.cell(the_analysis=made)))
    assert f": {answer(made)}</title>" in page
    assert f'<p class="verdict">{answer(made)}</p>' in page
    assert "Trained to the end" in reading.words(page) and "Stopped early" in reading.words(page)


def test_the_sentences() -> None:
    past = "past epoch 57.3 (51.0 – 64.2)"
    for matched, stopped, said in (
        (HALVES[5], HALVES[0], f"Choose AR if you may stop early; DLM if you train {past}"),
        (HALVES[5], HALVES[1], f"Choose DLM if you may stop early; DLM if you train {past}, AR if not so far"),
        (HALVES[1], HALVES[0], "Choose AR if you may stop early; DLM if you train to the end"),
        (HALVES[1], HALVES[1], "Choose DLM, whether you may stop early or train to the end"),
        (HALVES[0], HALVES[3], "Choose AR if you train to the end; not known yet if you may stop early"),
        (HALVES[3], HALVES[3], "Insufficient evidence"),
    ):
        assert answer(analysis(matched, stopped)) == said


def test_a_bound_is_called_a_bound() -> None:
    made = analysis(HALVES[0], HALVES[1], BOUND)
    below, bound_wins = made.verdicts
    assert verdict_lines.statement(made, below) == "AR's loss is below the DLM's upper bound"
    assert verdict_lines.statement(made, bound_wins) == "DLM is better, no crossing shown"
    with_chain_rule = made.plan.model_copy(
        update={"metrics": (BOUND, MetricPlan(name="chain_rule_bpb", direction="lower", delta=0.02))}
    )
    confirmed = verdict_lines.planned_statement(with_chain_rule, below)
    assert confirmed == "AR's loss is below the DLM's upper bound, and the chain-rule loss confirms it"
    unknown = below.model_copy(update={"monte_carlo_known": False})
    assert ("the DLM's Monte Carlo error is not given and counted as 0: give a column stderr") in verdict_lines.line(
        made, unknown
    )
    assert "Monte Carlo" not in verdict_lines.line(analysis(HALVES[0], HALVES[1]), unknown), "both are exact"
