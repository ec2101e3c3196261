"""What serving costs, in words: one set of sentences on the page, in Markdown and in the terminal."""

from __future__ import annotations

import pytest

from crossover.analysis.serving_crossing import Served, ServedRate, ServingComparison, ServingCrossing
from crossover.report import render_html, render_markdown, serving_lines
from crossover.report.report_markdown import _text
from tests.crossover.report import html_reading as reading
from tests.crossover.report import report_samples as samples


def served(arm: str, speeds: tuple[float, ...], quality: float, **setting: object) -> Served:
    latency = {"first_token_p50": 0.0125, "first_token_p99": 0.2, "total_p50": 1.0, "total_p99": 2.0}
    return Served(
        arm=arm,
        run=f"c/{arm}/seed-0",
        run_digest=f"sha256:{arm}",
        step=8,
        checkpoint_digest=f"sha256:c-{arm}",
        setting=setting,
        metric="validation_bpb",
        quality=quality,
        rates=tuple(
            ServedRate(concurrency=4**i, requests=8, tokens_per_second=(speed, speed), **latency)
            for i, speed in enumerate(speeds)
        ),
    )


def comparison(crossing: ServingCrossing) -> ServingComparison:
    return ServingComparison(
        measured_at="2026-11-28T15:00:00+00:00",
        device="CPU, x86_64",
        cores=2,
        prompt_tokens=64,
        answer_tokens=50,
        baseline=served("ar", (100, 400, 1600), 2.125),
        candidate=served("dlm", (200, 400, 800), 2.25, block_length=32, cache="dual"),
        exact=served("dlm", (50, 50, 50), 2.25, block_length=32),
        agreement=0.97,
        crossing=crossing,
        exact_crossing=ServingCrossing(outcome="baseline"),
    )


FOUND = ServingCrossing(outcome="baseline overtakes", at=4.0, low=3.5, high=4.5)


def test_who_is_faster_at_what_quality_and_cost() -> None:
    order, quality, rates, alone, there, facts = serving_lines(comparison(FOUND))
    assert order == (
        "DLM serves more tokens a second at few concurrent requests, AR from 4 on (95 % interval by the repeats 3.5 to "
        "4.5). With exact decoding of DLM: AR serves more tokens a second throughout, from 1 to 16 concurrent requests."
    )
    assert quality == (
        "Quality by validation_bpb: AR 2.125, DLM 2.250. DLM decodes with block_length 32, cache dual, which gives 97 "
        "% of the tokens that exact decoding gives."
    )
    assert rates.startswith(
        "Tokens/s at 1, 4, 16 concurrent requests: AR 100, 400, 1,600; DLM 200, 400, 800; DLM exactly 50, 50, 50. "
    )
    assert rates.endswith("AR 12.5 and 12.5; DLM 12.5 and 12.5; DLM exactly 12.5 and 12.5.")
    assert alone == (
        "Serving cost at one request at a time: AR 50 tokens/s and 1 requests/s per core, DLM 100 tokens/s and 2 "
        "requests/s per core."
    )
    assert there.startswith("Serving cost at 4 concurrent requests: AR 200 tokens/s and 4 requests/s per core, DLM 200")
    assert "with 2 cores: prompts of 64 held-out tokens, answers of 50, 2 repeats." in facts


@pytest.mark.parametrize(
    ("crossing", "words"),
    [
        ({"outcome": "candidate"}, "DLM serves more tokens a second throughout, from 1 to 16 concurrent requests."),
        ({"outcome": "unresolved"}, "Neither is clearly faster throughout, nor overtakes once, from 1 to 16"),
        (
            {"outcome": "candidate overtakes", "at": 4.0, "low": 3.0, "high": 5.0},
            "AR serves more tokens a second at few concurrent requests, DLM from 4 on",
        ),
    ],
)
def test_other_outcomes(crossing: dict[str, object], words: str) -> None:
    assert serving_lines(comparison(ServingCrossing.model_validate(crossing)))[0].startswith(words)


def test_page_and_markdown_have_the_sentences_and_nothing_where_it_was_not_measured() -> None:
    plain = samples.context()
    measured = plain.model_copy(update={"serving": comparison(FOUND)})
    page, text = reading.words(render_html(measured)), render_markdown(measured)
    for sentence in serving_lines(measured.serving):
        assert sentence in page
        assert _text(sentence) in text
    assert "What serving costs" not in render_html(plain)
    assert "tokens/s" not in render_markdown(plain)
    assert serving_lines(None) == ()
