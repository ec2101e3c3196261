"""As a user that may write nowhere but in the temporary folder, in a folder that is read-only, as in a pod."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.seaweed import server

NOBODY = "65532"
READS_ALL = "+dac_read_search"
"""Root's interpreter may lie where other users cannot read."""
AS_NOBODY = [
    *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
    *("--inh-caps", READS_ALL, "--ambient-caps", READS_ALL),
]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python as a user without rights in a read-only folder; only `tmp` below the test's folder can be written."""
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    (tmp_path / "ro").mkdir(mode=0o555)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o777)

    def start(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CROSSOVER_")}
        environment = kept | {"TMPDIR": str(tmp_path / "tmp"), "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"} | variables
        return subprocess.run(
            [*(AS_NOBODY if os.getuid() == 0 else []), sys.executable, *arguments],
            cwd=tmp_path / "ro",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def crossover(run: Run, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "crossover.cli", *arguments, **variables)


def test_a_writable_workspace_is_all_that_a_stage_needs(run: Run, tmp_path: Path) -> None:
    workspace = tmp_path / "tmp" / "ws"
    for verb in ("prepare", "pretrain"):
        result = crossover(run, verb, "smoke", "--out", str(workspace))
        assert result.returncode == 0, result.stderr
    assert list(workspace.rglob("model.safetensors"))
    assert list((tmp_path / "tmp").glob("crossover-*/registry.sqlite"))
    assert list((tmp_path / "ro").iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "arguments", "remedy"),
    [
        ({}, ("prepare", "smoke"), "give a folder that you may write to with --out ["),
        ({}, ("run", "smoke"), "give a folder that you may write to with --out ["),
        ({}, ("prepare", "smoke", "--out", "here"), "give a folder that you may write to with --out ["),
        ({}, ("compile", "--out", "x.yaml"), "give a folder that you may write to with --out ["),
        (
            {"CROSSOVER_HOME": "home"},
            ("prepare", "smoke"),
            "give a folder that you may write to with CROSSOVER_HOME or --out [",
        ),
    ],
    ids=["default", "run", "--out", "compile", "CROSSOVER_HOME"],
)
def test_the_remedy_names_the_flag_or_the_variable(
    run: Run, variables: dict[str, str], arguments: tuple[str, ...], remedy: str
) -> None:
    result = crossover(run, *arguments, **variables)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert remedy in result.stderr


def test_the_remedy_names_the_scratch_folder(run: Run, tmp_path: Path) -> None:
    variables = {"CROSSOVER_S3_SECURE": "false", "CROSSOVER_S3_ACCESS_KEY": "any", "CROSSOVER_S3_SECRET_KEY": "any"}
    variables["CROSSOVER_SCRATCH"] = "scratch"
    with server(tmp_path / "weed", "bucket") as endpoint:
        result = crossover(
            run, "prepare", "smoke", "--out", "s3://bucket/x", CROSSOVER_S3_ENDPOINT=endpoint, **variables
        )
    assert result.returncode == 2, result.stderr
    assert "give a folder that you may write to with CROSSOVER_SCRATCH [" in result.stderr


STAGE = """
from crossover.stages.pipeline_stage import open_pipeline_stage
with open_pipeline_stage("data_preparation", "smoke", "studies/demo", ""):
    pass
"""


@pytest.mark.parametrize(
    ("events", "remedy"),
    [("", "give a folder that you may write to with the pipeline parameter `workspace` ["), ("1", "with --out [")],
    ids=["pod", "crossover run"],
)
def test_in_a_component_the_remedy_names_the_parameter(run: Run, events: str, remedy: str) -> None:
    result = run("-c", STAGE, CROSSOVER_EVENTS=events)
    assert result.returncode == 2, result.stderr
    assert remedy in result.stderr.splitlines()[-1]
