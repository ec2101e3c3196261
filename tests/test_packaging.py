"""The wheel: which modules it installs, which files are in it, and a study that runs with it from an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossover.extras import EXTRAS
from tests.test_extras import NOT_INSTALLED, REQUIRED_BY

ROOT = Path(__file__).parents[1]
OURS = {"crossover", "crossover_cluster", "crossover_components", "crossover_pipelines", "crossover_services"}
FOLDERS = {package.removeprefix("crossover_"): package for package in OURS}
ONLY_INSTALLED = """
import sys
sys.meta_path = [f for f in sys.meta_path if "_EditableFinder" not in getattr(f, "__name__", type(f).__name__)]
"""
"""Without the finder of the editable installation, which would offer the checkout's modules."""
pytestmark = pytest.mark.timeout(600)  # a study in twelve processes


def run(*command: str, folder: Path, **environment: str) -> str:
    result = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The wheel, built from a copy of the tracked files so that no build product gets into the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    names = ("crossover", "cluster", "components", "pipelines", "services")
    for name in names:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(target), ".", folder=source)
    (path,) = target.glob("*.whl")
    yield path


def test_the_wheel_owns_no_generic_module(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == OURS | {"crossover-0.1.0.dist-info"}


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Presets, migrations, templates, the catalogue of tasks, metadata and READMEs, beside all modules."""
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = [
        path
        for folder, package in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if (Path(package) / path.relative_to(ROOT / folder)).as_posix() not in names
    ]
    assert missing == []
    kinds = {Path(name).suffix for name in names}
    assert {".py", ".yaml", ".md", ".html", ".css"} <= kinds


def test_a_study_runs_with_the_installed_wheel_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """Nothing of the checkout is importable, nor any extra that `crossover run` does not declare."""
    target, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel), folder=empty)
    (target / "sitecustomize.py").write_text(ONLY_INSTALLED + NOT_INSTALLED)
    needed = {module for extra in ("train", "registry", "pipelines") for module in EXTRAS[extra]}
    hidden = {module for modules in EXTRAS.values() for module in modules} - needed - REQUIRED_BY["kfp"]
    environment = {"PYTHONPATH": str(target), "CROSSOVER_HOME": "studies", "CROSSOVER_SCRATCH": "scratch"}
    environment |= {"CROSSOVER_THREADS": "1", "CROSSOVER_PARALLELISM": "2", "NOT_INSTALLED": " ".join(hidden)}

    places = "; ".join(f"print({name}.__file__)" for name in sorted(OURS))
    code = f"import {', '.join(sorted(OURS))}; {places}"
    files = run(sys.executable, "-c", code, folder=empty, **environment).split()
    assert [Path(file).parents[1] for file in files] == [target] * len(OURS)

    output = run(
        str(target / "bin" / "crossover"), "run", "smoke", "--seeds-per-task", "2", folder=empty, **environment
    )
    assert "ANSWER: Insufficient evidence" in output
    assert (empty / "studies" / "smoke" / "analysis" / "report.html").is_file()
