"""A drawing made small keeps every line where it was."""

from __future__ import annotations

import re

from crossover.report import report_view, svg_rendering
from tests.crossover.report import report_samples as samples

Place = tuple[float, float]


def outlines(svg: str) -> list[list[Place]]:
    """The corners of every path of straight lines, in tenths of a pixel, whether absolute or by differences."""
    found = []
    for path in re.findall(r' d="(M[^"]*)"', svg):
        if re.search("[^MLlZ0-9., -]", path):
            continue
        corners: list[Place] = []
        for command, text in re.findall("([MLl])([^MLlZ]*)", path):
            numbers = [round(10 * float(n)) for n in re.findall(r"-?\d*\.?\d+", text)]
            for x, y in zip(numbers[::2], numbers[1::2], strict=True):
                start = corners[-1] if command == "l" else (0, 0)
                corners.append((start[0] + x, start[1] + y))
        found.append(corners)
    return found


def test_a_compact_drawing_is_the_same_drawing() -> None:
    drawn = report_view.hero(samples.context(samples.cell("c", samples.analysis(seeds=8))))
    assert drawn is not None
    small = svg_rendering.compact(drawn)
    assert outlines(small) == outlines(drawn)
    assert sum(map(len, outlines(drawn))) > 500
    assert len(small) < 0.7 * len(drawn)
    assert small.count("<g") == small.count("</g>") and "<g>" not in small
    names = set(re.findall(r'<clipPath id="([^"]+)"', small))
    assert set(re.findall(r"url\(#([^)]+)\)", small)) == names and len(names) < 5


def test_texts_keep_their_size_and_lines_their_joins() -> None:
    drawn = report_view.hero(samples.context(samples.cell("c", samples.analysis())))
    assert drawn is not None
    small = svg_rendering.compact(drawn)
    usual = ' stroke-linejoin="round" font-size="12px"'
    assert small.count(usual) == 1 and drawn.count("<text") == small.count("<text")
    sizes = [re.findall(r'<text[^>]*font-size="(\d+px)"', svg) for svg in (drawn, small)]
    assert [size for size in sizes[0] if size != "12px"] == sizes[1]
    assert len(sizes[0]) == drawn.count("<text"), "every text has a size of its own"


def test_a_picture_has_the_theme_that_was_chosen() -> None:
    svg = svg_rendering.tidy(
        '<svg viewBox="0 0 9 9"><path d="M0,0L1,1" stroke="#b04a00"/></svg>', key="k", title="t", description="d"
    )
    light, dark, system = (svg_rendering.standalone(svg, theme) for theme in ("light", "dark", ""))
    assert "#f2a35e" not in light and "prefers-color-scheme" not in light
    assert "--arm1: #f2a35e" in dark and "--arm1: #b04a00" not in dark and "prefers-color-scheme" not in dark
    assert "--arm1: #b04a00" in system and "prefers-color-scheme: dark" in system
