"""Verbs that only read leave the workspace, the registry and the home folder byte for byte as they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from crossover.cli import main
from crossover.study.study_config import StudyConfig

VERBS = {
    "next": ("next", "edited.yaml", "--out", "ws"),
    "next, nothing there": ("next", "edited.yaml"),
    "plan": ("plan", "edited.yaml", "--out", "ws", "--no-measure"),
    "plan, measured": ("plan", "edited.yaml", "--out", "ws", "--measure"),
    "plan, nothing there": ("plan", "edited.yaml", "--no-measure"),
    "plan, a workspace": ("plan", "ws", "--no-measure"),
    "report": ("report", "ws"),
    "advise": ("advise", "ws"),
    "doctor": ("doctor",),
    "registry query": ("registry", "query", "SELECT * FROM v_runs"),
    "run --print-study": ("run", "edited.yaml", "--print-study"),
}


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder: the bytes of files, None for folders."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("arguments", VERBS.values(), ids=VERBS)
def test_it_writes_nothing(
    arguments: tuple[str, ...], trained: tuple[StudyConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, workspace = trained
    shutil.copytree(workspace, tmp_path / "ws")
    shutil.copytree(workspace.parent / "home", tmp_path / "home")
    monkeypatch.setenv("CROSSOVER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    edited = study.model_dump(mode="json") | {"seeds": 6}
    edited["analysis"]["looks"] = [5, 6]
    (tmp_path / "edited.yaml").write_text(yaml.safe_dump(edited))
    before = contents(tmp_path)
    assert (tmp_path / "home" / "registry.sqlite").is_file()
    assert main(arguments) == 0
    assert contents(tmp_path) == before
