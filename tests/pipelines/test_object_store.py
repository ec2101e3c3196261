"""A study whose workspace is a bucket: stages on machines that share nothing else, and homes that cannot be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossover.commands.serve_command import find_checkpoint
from crossover.study.study_config import StudyConfig
from tests.seaweed import server

pytestmark = pytest.mark.timeout(240)
READ_ONLY = "/proc/crossover-home"
"""A folder that nobody can make, root included."""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("weed"), "studies") as address:
        yield address


def crossover(endpoint: str, machine: Path, *arguments: str) -> str:
    """Run a verb on a machine, which is a scratch folder of its own; returns its output."""
    environment = os.environ | {
        "CROSSOVER_HOME": READ_ONLY,
        "CROSSOVER_SCRATCH": str(machine),
        "CROSSOVER_S3_ENDPOINT": endpoint,
        "CROSSOVER_S3_SECURE": "false",
        "CROSSOVER_S3_ACCESS_KEY": "any",
        "CROSSOVER_S3_SECRET_KEY": "any",
        "CROSSOVER_REGISTRY_URL": f"sqlite:///{machine.parent}/registry.sqlite",
        "CROSSOVER_THREADS": "1",
    }
    command = [sys.executable, "-m", "crossover.cli", *arguments]
    result = subprocess.run(command, env=environment, cwd=machine.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_stage_runs_on_another_machine(
    endpoint: str, tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study.json"
    raw = tiny_study.model_dump(mode="json")
    raw["grid"]["unique_tokens"] = [512]
    study.write_text(json.dumps(raw))
    place = ["--out", "s3://studies/chained"]
    for number, verb in enumerate(("prepare", "pretrain", "evaluate", "analyse")):
        flags = ["--promote", "always"] if verb == "analyse" else []
        crossover(endpoint, tmp_path / f"machine-{number}", verb, str(study), *place, *flags)
    assert "promote:" in crossover(
        endpoint, tmp_path / "machine-4", "analyse", str(study), *place, "--promote", "always"
    )
    crossover(endpoint, tmp_path / "machine-5", "promote", str(study), *place)
    assert "report.html" in crossover(endpoint, tmp_path / "machine-6", "report", "s3://studies/chained")
    plan = json.loads(crossover(endpoint, tmp_path / "machine-7", "plan", str(study), *place, "--json"))
    assert {kind: row["new"] for kind, row in plan["artifacts"].items()} == dict.fromkeys(plan["artifacts"], 0)
    for name, value in {
        "CROSSOVER_SCRATCH": str(tmp_path / "machine-8"),
        "CROSSOVER_S3_ENDPOINT": endpoint,
        "CROSSOVER_S3_SECURE": "false",
        "CROSSOVER_S3_ACCESS_KEY": "any",
        "CROSSOVER_S3_SECRET_KEY": "any",
    }.items():
        monkeypatch.setenv(name, value)
    for arm in (None, "ar", "dlm"):
        folder = find_checkpoint("s3://studies/chained", arm)
        assert (folder / "model.safetensors").is_file()
        assert folder.is_relative_to(tmp_path / "machine-8")


def test_a_whole_study_with_a_home_that_cannot_be_written(endpoint: str, tmp_path: Path) -> None:
    output = crossover(endpoint, tmp_path / "pod", "run", "smoke", "--out", "s3://studies/smoke", "--promote", "always")
    assert "VERDICT: insufficient evidence" in output
    assert not Path(READ_ONLY).exists()
    again = crossover(endpoint, tmp_path / "other-pod", "plan", "smoke", "--out", "s3://studies/smoke")
    assert "nothing to train: every run is finished" in again
