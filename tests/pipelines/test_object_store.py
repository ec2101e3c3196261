"""A study whose workspace is a bucket: stages on machines that share nothing else, and homes that cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.commands.serve_command import find_checkpoint
from crossover.settings import get_settings
from crossover.stages.study_text import resolve_study
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from tests.seaweed import server

READ_ONLY = "/proc/crossover-home"
"""A folder that nobody can make, root included."""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("weed"), "studies") as address:
        yield address


def environment(endpoint: str, machine: Path) -> dict[str, str]:
    """The variables of a machine, which is a scratch folder of its own."""
    return {
        "CROSSOVER_HOME": READ_ONLY,
        "CROSSOVER_SCRATCH": str(machine),
        "CROSSOVER_S3_ENDPOINT": endpoint,
        "CROSSOVER_S3_SECURE": "false",
        "CROSSOVER_S3_ACCESS_KEY": "any",
        "CROSSOVER_S3_SECRET_KEY": "any",
        "CROSSOVER_REGISTRY_URL": f"sqlite:///{machine.parent}/registry.sqlite",
        "CROSSOVER_THREADS": "1",
    }


def test_every_stage_runs_on_another_machine(
    endpoint: str,
    tiny_study: StudyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = tmp_path / "study.json"
    raw = tiny_study.model_dump(mode="json")
    raw["grid"]["unique_tokens"] = [512]
    study.write_text(json.dumps(raw))
    place = ["--out", "s3://studies/chained"]
    monkeypatch.chdir(tmp_path)

    def enter(number: int) -> None:
        """Go on as another machine: other settings, and a scratch folder in which nothing is yet."""
        assert not (tmp_path / f"machine-{number}").exists()
        for name, value in environment(endpoint, tmp_path / f"machine-{number}").items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()

    def crossover(number: int, *arguments: str) -> str:
        """Run a verb on a machine; returns its output."""
        enter(number)
        assert main(arguments) == 0
        return capsys.readouterr().out

    for number, verb in enumerate(("prepare", "pretrain", "evaluate", "analyse")):
        flags = ["--promote", "always"] if verb == "analyse" else []
        crossover(number, verb, str(study), *place, *flags)
    assert "Decision:  promote (" in crossover(4, "analyse", str(study), *place, "--promote", "always")
    crossover(5, "promote", str(study), *place)
    assert "report.html" in crossover(6, "report", "s3://studies/chained")
    plan = json.loads(crossover(7, "plan", str(study), *place, "--json"))
    assert {kind: row["new"] for kind, row in plan["artifacts"].items()} == dict.fromkeys(plan["artifacts"], 0)
    enter(8)
    assert resolve_study("s3://studies/chained").digest == parse_study(study.read_text()).digest
    for arm in (None, "ar", "dlm"):
        folder = find_checkpoint("s3://studies/chained", arm)
        assert (folder / "model.safetensors").is_file()
        assert folder.is_relative_to(tmp_path / "machine-8")


def test_a_whole_study_with_a_home_that_cannot_be_written(endpoint: str, tmp_path: Path) -> None:
    def crossover(machine: str, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "crossover.cli", *arguments, "--out", "s3://studies/smoke"],
            env=os.environ | environment(endpoint, tmp_path / machine),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    assert "ANSWER: Insufficient evidence" in crossover("pod", "run", "smoke", "--promote", "always")
    assert not Path(READ_ONLY).exists()
    assert "nothing to train: every run is finished" in crossover("other-pod", "plan", "smoke")
