"""The guides of docs/kubernetes name values, verbs and files that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from crossover.cli import build_parser
from tests.chart_readme import documented
from tests.charts.rendering import CHART, ROOT
from tests.test_cli import verbs_of

PAGES = [*sorted((ROOT / "docs" / "kubernetes").glob("*.md")), ROOT / "examples" / "try-out" / "README.md"]
TEXT = (CHART / "values.yaml").read_text("utf-8")
PATHS = [path for path, _ in documented(TEXT)]
CODES = set(re.findall(r"`([a-z-]+\.[a-z-]+)`", (ROOT / "docs" / "errors.md").read_text("utf-8")))
GROUPS = "|".join(yaml.safe_load(TEXT))


def is_value(path: str) -> bool:
    """Whether a path, in which `*` is any name, leads to a value, to a group of them, or into one that is free."""
    pattern = re.escape(path).replace(r"\*", "[A-Za-z0-9]+")
    return any(re.match(rf"{pattern}($|\.)", known) or path.startswith(f"{known}.") for known in PATHS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_values_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    named = set(re.findall(r"--set(?:-file)? '?([a-zA-Z0-9.]+)", text))
    named |= set(re.findall(rf"`((?:{GROUPS})\.[A-Za-z0-9.*]*[A-Za-z0-9*])(?=[`=:])", text))
    assert {path for path in named - CODES if not is_value(path)} == set()
    if page.name in ("install.md", "security.md", "gpu.md"):
        assert len(named) >= 7


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_there(page: Path) -> None:
    verbs = verbs_of(build_parser())
    known = {*verbs, *(f"registry {verb}" for verb in verbs_of(verbs["registry"]))}
    for words in re.findall(r"(?:^|`)crossover ((?:registry )?[a-z]+)", page.read_text("utf-8"), re.MULTILINE):
        assert words in known, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_links_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    for path in re.findall(r"(?:^|[ `=])((?:charts|examples)/[-a-z/_.]+[a-z])", text):
        assert (ROOT / path).exists(), path
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
