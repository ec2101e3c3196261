"""A study that is corrected after its first stage failed goes on in the same workspace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossover.cli import main
from tests.conftest import write_corpus

WRONG = """
name: mine
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [99999999], models: [pico]}}
seeds: 2
evaluation: {{cloze_items: 8}}
"""


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A study whose preparation failed for want of text."""
    write_corpus(tmp_path / "corpus")
    path = tmp_path / "mine.yaml"
    path.write_text(WRONG.format(corpus=tmp_path / "corpus"))
    assert main(["prepare", str(path), *place(tmp_path)]) == 2
    return path


def place(folder: Path) -> list[str]:
    return ["--out", str(folder / "ws"), "--registry", f"sqlite:///{folder}/r.sqlite"]


@pytest.mark.parametrize("name", ["mine", "renamed"])
def test_a_study_corrected_after_a_failed_first_stage_is_taken(failed: Path, tmp_path: Path, name: str) -> None:
    """While nothing is prepared, its name may be corrected too."""
    failed.write_text(failed.read_text().replace("99999999", "512").replace("name: mine", f"name: {name}"))
    assert main(["prepare", str(failed), *place(tmp_path)]) == 0
    recorded = json.loads((tmp_path / "ws" / "study.json").read_text())
    assert (recorded["name"], recorded["study"]["grid"]["unique_tokens"]) == (name, [512])


def test_another_study_is_refused_once_something_is_prepared(
    failed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed.write_text(failed.read_text().replace("99999999", "512"))
    assert main(["prepare", str(failed), *place(tmp_path)]) == 0
    failed.write_text(failed.read_text().replace("name: mine", "name: other"))
    assert main(["prepare", str(failed), *place(tmp_path)]) == 2
    assert "[workspace.other-study]" in capsys.readouterr().err
