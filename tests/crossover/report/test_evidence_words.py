"""What a verdict rests on: the range, runs left out, single seeds, rare runs, and what curves cannot show."""

from __future__ import annotations

import pytest

from crossover.analysis.analysis_result import LostRun, Turn, Verdict, Window
from crossover.report import evidence_words, verdict_lines
from crossover.report.method_limits import method_limits
from crossover.report.report_markdown import render_markdown
from crossover.report.report_page import render_html
from tests.crossover.report import html_reading as reading
from tests.crossover.report import report_samples as samples

LOST = (LostRun(arm="dlm", seed=3, reason="ends at 46k tokens"),)


def late(*per_seed: float) -> Verdict:
    mean = sum(per_seed) / len(per_seed)
    window: Window = samples.window("epochs", 90, 200, mean).model_copy(update={"per_seed": per_seed})
    return samples.verdict(samples.LOSS.name, outcome="equivalent").model_copy(update={"late": window})


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        (None, ""),
        ((1.0, 200.0), ""),
        ((1.0, 150.0), "compared over epochs 1.00 – 150 of 1.00 – 200 measured"),
    ],
)
def test_the_range_is_named_where_it_is_not_all_that_was_measured(
    compared: tuple[float, float] | None, words: str
) -> None:
    analysis = samples.analysis()
    verdict = analysis.headline.model_copy(update={"compared": compared})
    assert evidence_words.compared(analysis, verdict) == words


def test_runs_left_out_are_named_in_the_headline() -> None:
    analysis = samples.analysis(figures=())
    verdict = analysis.headline.model_copy(update={"lost": LOST})
    assert "without DLM seed 3 (ends at 46k tokens)" in verdict_lines.line(analysis, verdict)
    many = verdict.model_copy(update={"lost": LOST * 5})
    assert evidence_words.lost(many).endswith("seed 3 (ends at 46k tokens) and 2 more")
    shown = analysis.model_copy(update={"verdicts": (verdict, *analysis.verdicts[1:])})
    context = samples.context(samples.cell(the_analysis=shown))
    for text in (reading.words(render_html(context)), render_markdown(context)):
        assert "without DLM seed 3 (ends at 46k tokens)" in text


@pytest.mark.parametrize(
    ("per_seed", "words"),
    [
        ((0.1, 0.11, 0.12), ""),
        ((0.001, 0.002, 0.003, 0.3), "one seed decides: without seed 3 the mean is +0.002, with it +0.076"),
        ((0.1, -0.3, 0.1), "one seed decides: without seed 1 the mean is +0.100, with it −0.033"),
        ((0.1, 0.1), ""),
    ],
)
def test_one_seed_that_decides_is_named(per_seed: tuple[float, ...], words: str) -> None:
    analysis = samples.analysis(seeds=len(per_seed), figures=())
    assert evidence_words.deciding_seed(analysis, late(*per_seed)) == words


def test_the_difference_of_each_seed_pair_stands_beside_the_mean() -> None:
    analysis = samples.analysis(seeds=4, figures=())
    verdict = late(0.1, 0.2, 0.3).model_copy(update={"lost": (LOST[0].model_copy(update={"seed": 1}),)})
    assert evidence_words.seed_differences(analysis, verdict) == "seed 0 +0.100, seed 2 +0.200, seed 3 +0.300"
    unknown = verdict.model_copy(update={"lost": ()})
    assert evidence_words.seed_differences(analysis, unknown).startswith("pair 1 +0.100, pair 2")
    assert evidence_words.seed_differences(analysis, late(*[0.1] * 20)).endswith("pair 16 +0.100, and 4 more")
    context = samples.context()
    page = " ".join(reading.words(render_html(context)).split())
    assert "Late difference of each seed pair, nats/token seed 0 −0.332" in page
    assert "Late difference of each seed pair: seed 0 −0.332" in render_markdown(context)


def test_several_crossings_are_called_not_tested() -> None:
    turn = Turn(direction="baseline→candidate", at=3.0, low=None, high=4.0)
    analysis = samples.analysis(figures=())
    verdict = analysis.headline.model_copy(update={"turns": (turn, turn), "sign_changes": 2})
    assert "; 2 sign changes, not tested: AR→DLM at epoch 3.00" in verdict_lines.line(analysis, verdict)
    shown = analysis.model_copy(update={"verdicts": (verdict, *analysis.verdicts[1:])})
    page = reading.words(render_html(samples.context(samples.cell(the_analysis=shown))))
    assert "Every sign change, not tested" in page and "Sign changes (not tested)" in page


def test_what_curves_cannot_show_is_said_of_these_pairs() -> None:
    assert evidence_words.unseen_share(5) == pytest.approx(0.4507, abs=1e-4)
    own = samples.context()
    given = own.model_copy(update={"corpus": None})
    assert "fewer than 45 % of the runs of an arm can be missing from all 5" in " ".join(method_limits(own))
    assert len(method_limits(own)) == 2, "own pairs are pairs, bounds have their error, the schedule is known"
    for words in ("unpaired seeds declared as pairs", "counts as 0", "If the learning rate decays"):
        assert words in " ".join(method_limits(given))
    for context in (own, given):
        for sentence in method_limits(context):
            assert sentence in reading.words(render_html(context))


def test_chance_stands_beside_an_accuracy() -> None:
    page = reading.words(render_html(samples.context()))
    assert "Without training: chance 0.250." in page
    assert "chance 0.250" in render_markdown(samples.context())
