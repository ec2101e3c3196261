"""The page: self-contained, well-formed, accessible, safe, and small."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from crossover.analysis.analysis_result import Figure, SeedCurve
from crossover.report import (
    ReportContext,
    Sample,
    figure_palette,
    page_trimming,
    render_html,
    render_markdown,
    render_picture,
    report_view,
)
from crossover.report.report_page import MAXIMUM_BYTES
from tests.crossover.report import html_reading as reading
from tests.crossover.report import report_samples as samples

SVG = "{http://www.w3.org/2000/svg}"


def test_it_asks_nothing_of_the_network(page: str) -> None:
    outline = reading.read(page)
    assert all(link.startswith("#") or link == "data:," for link in outline.links)
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)'\"]*)", page))
    assert "@import" not in page
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_its_one_script_is_the_only_one_that_may_run(page: str) -> None:
    (script,) = reading.scripts(page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy.group(1)
    assert "default-src 'none'" in policy.group(1)
    assert not re.search(r"\bon\w+=", re.sub(r"<script>.*?</script>|<svg.*?</svg>", "", page, flags=re.DOTALL))


def test_every_id_is_unique_and_every_reference_resolves(page: str) -> None:
    outline = reading.read(page)
    assert len(outline.ids) == len(set(outline.ids))
    targets = {link[1:] for link in outline.links if link.startswith("#")}
    used = set(re.findall(r"url\(#([^)]+)\)", page))
    assert targets | used | set(outline.labelled) <= set(outline.ids)
    assert used, "curves are clipped to their panel"


def test_it_is_small(page: str) -> None:
    assert len(page.encode()) <= MAXIMUM_BYTES


def test_headings_descend_one_at_a_time_and_tables_have_scopes(page: str) -> None:
    outline = reading.read(page)
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    steps = [b - a for a, b in zip(outline.headings, outline.headings[1:], strict=False)]
    assert max(steps) <= 1
    assert outline.headers_without_scope == 0
    assert outline.tags["caption"] == outline.tags["table"]
    assert outline.tags["figcaption"] == outline.tags["figure"]


def test_each_figure_has_drawings_that_parse_and_are_described(page: str) -> None:
    drawings = reading.svgs(page)
    # 2 metrics × 3 axes × 2 comparisons, and the two wide ones have a narrow twin.
    assert len(drawings) == 14
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)  # noqa: S314 - our own drawing
        title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None and title.text
        assert desc is not None and desc.text
        assert root.get("role") == "img"
        assert root.get("viewBox")


def test_no_colour_is_fixed_in_a_drawing(page: str) -> None:
    for drawing in reading.svgs(page):
        assert not re.findall(r'(?:fill|stroke)="(?:#|white|black)[^"]*"', drawing)
        assert re.search(r'stroke="var\(--arm1, #[0-9a-f]{6}\)"[^>]*stroke-dasharray="6,3"', drawing)


def test_the_late_window_s_name_does_not_meet_the_labels_beside_the_panel() -> None:
    """Where the window is narrower than its name: both began at the panel's right edge."""
    rows = [
        v.model_copy(update={"late": samples.window(v.axis, 199.9, 200, -0.3123)})
        for v in samples.verdicts()
        if v.metric == samples.LOSS.name
    ]
    page = render_html(samples.context(samples.cell(the_analysis=samples.analysis(rows=tuple(rows)))))
    text = re.compile(r'<text text-anchor="(\w+)" transform="translate\(([\d.]+),[^>]*>(late[^<]*|↑[^<]*)</text>')
    pairs = 0
    for drawing in reading.svgs(page):
        ends = {name[0]: (anchor, float(x), 6 * len(name)) for anchor, x, name in text.findall(drawing)}
        if "l" in ends:
            anchor, x, width = ends["l"]
            assert (x if anchor == "end" else x + width) < ends["↑"][1]
            pairs += 1
    assert pairs >= 4


def test_dark_mode_has_every_colour(page: str) -> None:
    for rule in (r"prefers-color-scheme: dark\) \{ :root:not\(\[data-theme=light\]\)", r":root\[data-theme=dark\]"):
        dark = re.search(rule + r" \{ (--[^}]*)\}", page)
        assert dark is not None, rule
        assert all(f"--{role}:" in dark.group(1) for role in [*figure_palette.ROLES, "page"])
    assert 'content="light dark"' in page


@pytest.mark.parametrize("mode", [0, 1])
def test_text_colours_have_contrast(mode: int) -> None:
    for role, pair in figure_palette.ROLES.items():
        if role not in {"grid", "line", "window"}:
            assert contrast(pair[mode], figure_palette.PAGE[mode]) >= 4.5, role


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_views_come_in_order(page: str) -> None:
    marks = [
        "Choose AR if you may stop early",
        "All verdicts on",
        "<svg",
        "Each arm by itself",
        "What the models write",
    ]
    body = page[page.index("<body>") :]
    places = [body.index(mark) for mark in [*marks, "How it was done"]]
    assert places == sorted(places)


def test_every_number_of_the_verdict_is_printed(page: str) -> None:
    text = reading.words(page)
    for figure in ("epoch 57.3", "51.0 – 64.2", "+0.481 (+0.440 … +0.522)", "−0.312 (−0.353 … −0.271)", "5 seed pairs"):
        assert figure in text
    for figure in ("0.00042", "0.00084", "δ = 0.02", "3.55 × 10¹⁵", "3.388 ", "34.5", "± 0.027", "90.7 min"):
        assert figure in text


def test_estimators_and_provenance_are_named(page: str, full: ReportContext) -> None:
    text = reading.words(page)
    for phrase in ("upper bound (NELBO)", "DLM (upper bound)", "matched tokens", "not tested", "Fieller"):
        assert phrase in text
    assert full.corpus is not None
    facts = (full.study_digest, full.corpus.digest, full.cells[0].runs[3].run_key, "early-late-iut/1", full.sql)
    for fact in facts:
        assert fact in text


def test_values_without_training_and_the_share_of_the_corpus_are_shown(page: str, full: ReportContext) -> None:
    for text in (reading.words(page), render_markdown(full)):
        assert re.search(r"Held-out bytes by gzip\W+2\.91 bits/byte", text)
    assert "1.00 M unique tokens, 100 % of the corpus" in reading.words(page)
    assert "10 runs, 2.20 d of training" in reading.words(page)
    low = full.model_copy(update={"cells": (full.cells[0].model_copy(update={"quality": "low"}),)})
    assert "1.00 M unique tokens, 100 % of the corpus, quality low" in reading.words(render_html(low))


def test_each_figure_has_its_table(page: str, full: ReportContext) -> None:
    assert page.count("Each run as measured</caption>") == len(full.cells[0].analysis.figures)
    assert page.count("Means over seeds with simultaneous bands</caption>") == len(full.cells[0].analysis.figures)
    last = full.cells[0].analysis.figures[0].seeds[-1].value[-1]
    assert f">{last:.3f}</td>" in page


def test_corpus_text_is_never_markup() -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    cell = samples.cell(evil, samples.analysis(figures=()))
    context = samples.context(cell, samples={"ar": (Sample(prompt=evil, completion="</blockquote>" + evil),)})
    page = render_html(context.model_copy(update={"question": evil, "notes": (evil,), "sql": evil}))
    outline = reading.read(page)
    assert outline.tags["script"] == 1 and "img" not in outline.tags
    assert "&lt;script&gt;alert(1)" in page


def test_a_metric_label_cannot_break_a_drawing() -> None:
    evil = '<script>x</script>"]]>&'
    plan = samples.plan()
    metrics = (plan.metrics[0].model_copy(update={"label": evil, "unit": "a&b"}), plan.metrics[1])
    analysis = samples.analysis(figures=samples.analysis().figures[:1])
    analysis = analysis.model_copy(update={"plan": plan.model_copy(update={"metrics": metrics})})
    page = render_html(samples.context(samples.cell(the_analysis=analysis)))
    assert reading.read(page).tags["script"] == 1
    for drawing in reading.svgs(page):
        ElementTree.fromstring(drawing)  # noqa: S314 - our own drawing


def test_without_figures_it_says_so() -> None:
    page = render_html(samples.context(samples.cell(the_analysis=samples.analysis(figures=()))))
    reading.read(page)
    assert "There are no points to draw." in page
    assert render_picture(samples.context(samples.cell(the_analysis=samples.analysis(figures=())))) is None


def test_points_that_no_log_axis_can_hold_are_left_out() -> None:
    nan = float("nan")
    seed = SeedCurve(arm="ar", seed=0, x=(0.0, 1.0, 2.0), value=(9.0, nan, 3.0), stderr=(0.0, 0.0, 0.0))
    figure = Figure(
        metric=samples.LOSS.name, axis="epochs", comparison="matched", seeds=(seed,), arms={}, difference=None
    )
    empty = figure.model_copy(update={"seeds": (), "comparison": "best-so-far"})
    analysis = samples.analysis(figures=(figure, empty), seeds=1)
    page = render_html(samples.context(samples.cell(the_analysis=analysis)))
    reading.read(page)
    assert "NaN" not in reading.without_script(page)
    assert "not finite" in page
    assert len(reading.svgs(page)) == 2


def test_unbounded_intervals_say_unbounded() -> None:
    half = samples.verdict(samples.LOSS.name, found=samples.crossing("epochs", high=None))
    none = samples.verdict(samples.CLOZE.name, found=samples.crossing("epochs", low=None, high=None))
    chosen = [f for f in samples.analysis().figures if f.axis == "epochs" and f.comparison == "matched"]
    analysis = samples.analysis(rows=(half, none), figures=tuple(chosen))
    page = render_html(samples.context(samples.cell(the_analysis=analysis)))
    text = reading.words(page)
    assert "51.0 – unbounded" in text
    assert "95 % interval unbounded" in text
    assert "The interval is unbounded: longer runs or more seed pairs would close it." in text


def test_insufficient_evidence_shows_no_crossing() -> None:
    row = samples.verdict(samples.LOSS.name, outcome="insufficient evidence", pairs=3, further_pairs=4)
    chosen = (samples.figure(samples.LOSS.name, "epochs", "matched", arms=("ar", "dlm"), seeds=3),)
    page = render_html(
        samples.context(samples.cell(the_analysis=samples.analysis(rows=(row,), figures=chosen, seeds=3)))
    )
    text = reading.words(page)
    assert "Insufficient evidence" in text
    assert "About 4 further seed pairs would settle it" in text
    assert "not tested" in text
    assert "overtakes" not in text


def test_several_cells_have_an_overview_and_ids_of_their_own() -> None:
    small = samples.analysis(figures=samples.analysis().figures[:1])
    lost = samples.analysis(rows=(samples.verdict(samples.LOSS.name, outcome="baseline"),), figures=small.figures)
    page = render_html(samples.context(samples.cell("U1M-N10M", small), samples.cell("U1M-N40M", lost)))
    outline = reading.read(page)
    assert len(outline.ids) == len(set(outline.ids))
    assert "The answer in each cell" in page
    assert "Choose AR if you train to the end" in page
    assert page.count("Cell U1M-N40M") == 1


def test_a_large_study_is_kept_small_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossover.report.report_page.MAXIMUM_BYTES", 1)
    page = render_html(
        samples.context(samples.cell(the_analysis=samples.analysis(figures=samples.analysis().figures[:1])))
    )
    assert "This page was kept small" in page
    assert "Each run as measured" not in page
    assert "data-low" in page, "the headline is drawn at every level"


def test_each_level_of_detail_is_smaller_and_has_the_headline(full: ReportContext) -> None:
    (cell,) = report_view.build(full)
    levels = [page_trimming.trim(cell, detail) for detail in page_trimming.LEVELS]
    assert levels[0] == cell
    sizes = [sum(len(str(part)) for part in (c.primary, c.further, c.others)) for c in levels]
    assert all(later < earlier for earlier, later in pairwise(sizes))
    for shown in levels:
        assert [figure.title for figure in shown.primary] == [figure.title for figure in cell.primary]
        table = shown.primary[0].tables[0]
        assert len(table.rows) == len(table.places)
        assert (table.rows[0], table.rows[-1]) == (
            cell.primary[0].tables[0].rows[0],
            cell.primary[0].tables[0].rows[-1],
        )


def test_the_picture_stands_alone_in_both_modes(full: ReportContext) -> None:
    picture = render_picture(full)
    assert picture is not None
    ElementTree.fromstring(picture)  # noqa: S314 - our own drawing
    assert "prefers-color-scheme: dark" in picture
    assert "epoch 57.3 (51.0 – 64.2)" in picture
