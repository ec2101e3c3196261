"""The page in a real browser: its script runs under its policy, tabs switch, tables sort, figures tell values."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRIVER = """
window.addEventListener("load", () => {
  const seen = {};
  const axes = document.querySelector(".axes");
  const tabs = [...axes.querySelectorAll("[role=tab]")];
  seen.tabs = tabs.map((tab) => tab.textContent);
  tabs[1].click();
  seen.shown = [...axes.querySelectorAll(".axis")].filter((panel) => !panel.hidden).map((panel) => panel.dataset.axis);
  tabs[0].click();
  const table = document.querySelector("table.verdicts");
  const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith("Crosses at"));
  const read = () => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
  table.tHead.rows[0].cells[column].querySelector("button").click();
  seen.rising = read();
  table.tHead.rows[0].cells[column].querySelector("button").click();
  seen.falling = read();
  const drawing = document.querySelector("figure[data-low] svg");
  const plot = drawing.querySelector("g[clip-path]");
  const clip = drawing.querySelector(plot.getAttribute("clip-path").slice(4, -1) + " rect");
  const end = new DOMPoint(clip.getAttribute("width") - 2, 20).matrixTransform(plot.getScreenCTM());
  drawing.dispatchEvent(new PointerEvent("pointermove", { clientX: end.x, clientY: end.y }));
  seen.tip = [...document.querySelector(".tip:not([hidden])").children].map((line) => line.textContent);
  document.querySelector(".tools button").click();
  seen.theme = document.documentElement.dataset.theme;
  seen.page = getComputedStyle(document.body).backgroundColor;
  seen.csv = document.querySelectorAll("button.csv").length;
  document.documentElement.dataset.seen = JSON.stringify(seen);
});
"""

LAYOUT = """
const seen = {};
const measure = (page, width) => {
  for (const details of page.querySelectorAll("details")) details.open = true;
  const cut = (cell) => cell.getBoundingClientRect().right > width || cell.getBoundingClientRect().left < 0;
  const wide = (table) => table.parentElement.scrollWidth > table.parentElement.clientWidth + 1;
  const numbers = [...page.querySelectorAll("table.many")].filter(wide);
  for (const table of numbers) table.parentElement.scrollLeft = 1000;
  return {
    page: page.documentElement.scrollWidth <= width,
    verdicts: page.querySelectorAll("table.verdicts .strong").length,
    cut_verdicts: [...page.querySelectorAll("table.verdicts .strong")].filter(cut).length,
    cut_tables: [...page.querySelectorAll("table:not(.many)")].filter(wide).map((table) => table.caption.textContent),
    lost_first_columns: numbers.filter((table) => cut(table.tBodies[0].rows[0].cells[0])).length,
  };
};
(async () => {
  for (const width of [400, 800, 1200]) {
    const frame = document.createElement("iframe");
    frame.style.cssText = `border:0;height:2000px;width:${width}px`;
    const loaded = new Promise((resolve) => { frame.onload = resolve; });
    frame.srcdoc = PAGE;
    document.body.append(frame);
    await loaded;
    seen[width] = measure(frame.contentDocument, width);
  }
  document.documentElement.dataset.seen = JSON.stringify(seen);
})();
"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium on this machine; CI has one")
    return found


@pytest.fixture(scope="module")
def seen(browser: str, page: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the driver saw; it runs beside the page's own script, allowed by its own digest."""
    digest = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    driven = page.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    driven = driven.replace("</body>", f"<script>{DRIVER}</script></body>")
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(driven, "utf-8")
    return result_of(dump(browser, path))


def result_of(dumped: str) -> dict[str, Any]:
    """What a driver left in the page."""
    match = re.search(r'data-seen="([^"]*)"', dumped)
    assert match is not None, "the driver came to its end"
    result: dict[str, Any] = json.loads(unescape(match.group(1)))
    return result


def dump(browser: str, path: Path) -> str:
    """The page as the browser holds it after its scripts."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--window-size=1200,2000")
    profile = f"--user-data-dir={path.parent / 'profile'}"
    done = subprocess.run(
        [browser, *flags, profile, "--dump-dom", path.as_uri()], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_axes_are_tabs(seen: dict[str, Any]) -> None:
    assert seen["tabs"] == ["epochs over the unique tokens", "training FLOPs", "training time"]
    assert seen["shown"] == ["training FLOPs"]


def test_tables_sort_by_what_numbers_mean(seen: dict[str, Any]) -> None:
    crossings = ["57.3", "3.55 × 10¹⁵", "90.7 min"]
    rising = [text for text in seen["rising"] if text != "–"]
    assert rising == [crossings[0]] * 2 + [crossings[2]] * 2 + [crossings[1]] * 2
    assert [text for text in seen["falling"] if text != "–"] == rising[::-1]


def test_a_figure_tells_the_values_under_the_pointer(seen: dict[str, Any]) -> None:
    assert seen["tip"][0] == "epochs 200"
    assert [line.partition(":")[0] for line in seen["tip"][1:]] == ["AR", "DLM (upper bound)", "DLM − AR"]


def test_the_theme_switches(seen: dict[str, Any]) -> None:
    assert seen["theme"] == "dark"
    assert seen["page"] == "rgb(21, 24, 28)"


def test_tables_can_be_saved(seen: dict[str, Any]) -> None:
    assert seen["csv"] >= 5


def test_no_other_script_runs(browser: str, page: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page.replace("</body>", "<script>document.title = 'run';</script></body>"), "utf-8")
    title = re.search(r"<title>(.*?)</title>", dump(browser, path))
    assert title is not None and title.group(1) != "run"


def test_tables_fit_telephones_tablets_and_laptops(browser: str, page: str, tmp_path: Path) -> None:
    """In frames, since Chromium's own window is at least 500 pixels wide. Tables of numbers scroll by themselves."""
    path = tmp_path / "frames.html"
    quoted = json.dumps(page).replace("</", "<\\/")
    path.write_text(f"<body><script>const PAGE = {quoted};{LAYOUT}</script></body>", "utf-8")
    fits = {"page": True, "verdicts": 12, "cut_verdicts": 0, "cut_tables": [], "lost_first_columns": 0}
    assert result_of(dump(browser, path)) == dict.fromkeys(("400", "800", "1200"), fits)
