"""Output that cannot be written is one line and exit code 2 in every verb, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossover.cli import main
from tests.conftest import write_corpus
from tests.test_cli import SMALL

LIMITED = """
import contextlib, io, json, resource, signal, sys
from crossover.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for arguments in json.loads(sys.argv[1]):
    for limit in json.loads(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        with contextlib.redirect_stderr(io.StringIO()) as error, contextlib.redirect_stdout(io.StringIO()):
            code = main(arguments)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(json.dumps([arguments[0], limit, code, error.getvalue()]), flush=True)
"""
"""Runs verbs one after the other, each under several limits of a file's size (bytes; -1 is none)."""
STUDY_VERBS = ("run", "next", "prepare", "pretrain", "evaluate", "analyse", "promote")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a study, a corpus, and a file of curves."""
    write_corpus(tmp_path / "corpus")
    (tmp_path / "small.yaml").write_text(SMALL.format(corpus=tmp_path / "corpus"))
    rounds = (tmp_path / "small.yaml").read_text().replace("seeds: 2", "seeds: 6") + "analysis: {looks: [5, 6]}\n"
    (tmp_path / "rounds.yaml").write_text(rounds)
    rows = [f"{a},{s},{t},loss,{s + t + (a == 'dlm')}" for a in ("ar", "dlm") for s in range(5) for t in range(1, 9)]
    (tmp_path / "curves.csv").write_text("\n".join(("arm,seed,tokens,metric,value", *rows)))
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize("verb", [*STUDY_VERBS, "compile", "curves", "registry"])
def test_a_folder_that_cannot_be_made(verb: str, files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Below a file, where not even root can make a folder."""
    out = str(files / "file" / "out")
    arguments = {
        "compile": ["compile", "--out", out],
        "curves": ["analyse", "--curves", f"{files}/curves.csv", "--metric", "loss:lower:0.1", "--out", out],
        "registry": ["registry", "upgrade", "--registry", f"sqlite:///{out}/r.sqlite"],
    }.get(verb, [verb, f"{files}/rounds.yaml", "--out", out])
    assert main(arguments) == 2
    error = capfd.readouterr().err
    assert error.startswith("crossover: ")
    assert str(files / "file") in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [("run", "demo", "--print-study"), ("doctor",), ("compile",)], ids=lambda a: a[0])
def test_a_full_standard_output(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crossover.cli", *arguments]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=Path(__file__).parents[1]
        )
    assert result.stderr == (
        "crossover: output: the disk is full; "
        "free some space and run again: finished work is kept and resumed [workspace.full]\n"
    )
    assert result.returncode == 2


def limited(
    folder: Path, verbs: list[list[str]], limits: list[int], prelude: str = ""
) -> list[tuple[str, int, int, str]]:
    """Verb, limit, exit code and standard error of every verb under every limit, in one process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:]])}
    command = [sys.executable, "-c", prelude + LIMITED, json.dumps(verbs), json.dumps(limits)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert result.returncode == 0, result.stderr
    return [tuple(json.loads(line)) for line in result.stdout.splitlines()]


@pytest.mark.timeout(240)
def test_a_limit_on_the_size_of_files(files: Path) -> None:
    """RLIMIT_FSIZE makes every larger write fail for real; without it each stage then goes on to its end."""
    study = ["small.yaml", "--out", "ws", "--registry", "sqlite:///r.sqlite"]
    stages = [[verb, *study] for verb in ("prepare", "pretrain", "evaluate")]
    stages += [["analyse", *study, "--promote", "always"], ["promote", *study]]
    stages += [["analyse", "--curves", "curves.csv", "--metric", "loss:lower:0.1", "--out", "curves"]]
    # torch looks for a temporary folder when it is imported, which the limit of 0 would refuse before all else
    results = limited(files, stages, [0, 50_000, -1], prelude="import torch, torch._dynamo\n")
    for verb, limit, code, error in results:
        assert code == 0 if limit == -1 else code in (0, 2), (verb, limit, error)
        lines = [line for line in error.splitlines() if not line.startswith(("pretrain ", "evaluate "))]  # progress
        assert len(lines) == (code == 2), (verb, limit, error)
    refused = {(verb, limit) for verb, limit, code, _ in results if code == 2}
    assert {(verb, 0) for verb, *_ in stages} <= refused
    told = next(error for verb, limit, _, error in results if verb == "prepare" and limit == 0)
    assert "raise the limit on the size of files (ulimit -f)" in told


def test_no_temporary_folder(files: Path) -> None:
    """On a full disk the first thing that fails is often an import that looks for a temporary folder."""
    prelude = "import tempfile\nfrom crossover.commands import doctor_command\n"
    prelude += "doctor_command.doctor = lambda _: bool(tempfile.gettempdir())\n"
    ((_, _, code, error),) = limited(files, [["doctor"]], [0], prelude)
    assert code == 2
    assert error == (
        "crossover: TMPDIR: no folder for temporary files can be written; "
        "free some space, or set TMPDIR to a folder that you may write to [workspace.no-temporary-folder]\n"
    )
