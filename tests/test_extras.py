"""Packages that are not installed: every verb names the extra in one line, and declares all extras that it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from crossover.cli import _extras, build_parser
from crossover.extras import BASE, EXTRAS
from tests.conftest import write_corpus
from tests.test_cli import FROZEN, SMALL

NOT_INSTALLED = """
import os, sys
from importlib.machinery import PathFinder
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in os.environ["NOT_INSTALLED"].split()
        return None if hidden else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""
"""A sitecustomize module: in this process and its children the named modules are not installed."""
EACH = """
import contextlib, io, json, sys
from crossover.cli import main
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as error, contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            code = main(arguments)
        except SystemExit as end:  # lm-eval's own --help
            code = end.code or 0
    print(json.dumps([code, error.getvalue(), output.getvalue()]))
"""
REQUIRED_BY = {
    "kserve": {"tabulate", "fastapi", "uvicorn", "prometheus_client", "httpx", "opentelemetry", "kubernetes"},
    "kfp": {"tabulate", "kubernetes"},
    "torch": {"jinja2"},
    "lm_eval": {"datasets", "jinja2", "pyarrow"},
}
"""What these packages require themselves, so that it is never missing beside them."""
MODULES = sorted({module.partition(".")[0] for modules in EXTRAS.values() for module in modules})
COMMANDS: dict[str, list[str]] = {
    **{
        verb: [verb, "nowhere.yaml"]
        for verb in ("run", "next", "plan", "tune", "prepare", "pretrain", "evaluate", "analyse")
    },
    "init": ["init", "nowhere"],
    "promote": ["promote", "nowhere.yaml"],
    "rollback": ["rollback", "nowhere.yaml"],
    "compile": ["compile"],
    "upload": ["upload"],
    "submit": ["submit", "nowhere.yaml"],
    "doctor": ["doctor"],
    "serve": ["serve", "nowhere"],
    "measure-serving": ["measure-serving", "nowhere.yaml"],
    "export-model": ["export-model", "nowhere", "exported"],
    "report": ["report", "nowhere"],
    "advise": ["advise", "nowhere"],
    "import": ["import", "nowhere.csv", "--study", "theirs"],
    "lm-eval": ["lm-eval", "--help"],
    "registry upgrade": ["registry", "upgrade"],
    "registry serve": ["registry", "serve", "--help"],
    "registry query": ["registry", "query", "SELECT 1"],
    "registry backup": ["registry", "backup", "backup.zip"],
    "registry restore": ["registry", "restore", "backup.zip"],
    "registry export": ["registry", "export", "--parquet", "exported"],
}


def without(modules: Iterable[str], commands: list[list[str]], folder: Path) -> list[tuple[int, str, str]]:
    """Exit code, standard error and output of commands in a process in which the modules are not installed."""
    (folder / "hidden").mkdir(exist_ok=True)
    (folder / "hidden" / "sitecustomize.py").write_text(NOT_INSTALLED)
    paths = [str(folder / "hidden"), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "NOT_INSTALLED": " ".join(modules)}
    environment["CROSSOVER_PARALLELISM"] = "1"  # `plan` starts no process that trains while it measures
    result = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(commands)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [tuple(json.loads(line)) for line in result.stdout.splitlines() if line.startswith("[")]


def test_all_verbs_are_here() -> None:
    assert {name.partition(" ")[0] for name in COMMANDS} == set(FROZEN)


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    modules: dict[str, set[str]] = {}
    for module, names in packages_distributions().items():
        for name in names:
            modules.setdefault(name.lower().replace("_", "-"), set()).add(module)

    def installed(requirements: list[str]) -> list[set[str]]:
        names = (requirement.split("[")[0].split(">")[0] for requirement in requirements)
        return [modules[name.lower().replace("_", "-")] for name in names]

    extras = {name: listed for name, listed in project["optional-dependencies"].items() if name != "dev"}
    assert set(extras) == set(EXTRAS)
    for listed, requirements in [(EXTRAS[e], r) for e, r in extras.items()] + [(BASE, project["dependencies"])]:
        assert len(listed) in (len(requirements), len(set(map(frozenset, installed(requirements)))))
        top = {module.partition(".")[0] for module in listed}
        assert all(top & candidates for candidates in installed(requirements))


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_extra_is_one_line(module: str, tmp_path: Path) -> None:
    extras = {name: _extras(build_parser().parse_args(arguments)) for name, arguments in COMMANDS.items()}
    needing = {
        name: e
        for name, e in extras.items()
        if any(module == m.partition(".")[0] for extra in e for m in EXTRAS[extra])
    }
    results = without([module], [COMMANDS[name] for name in needing], tmp_path)
    for (code, error, output), extra in zip(results, needing.values(), strict=True):
        assert (code, output) == (2, "")
        assert error == f"crossover: {module} is not installed; run: pip install 'crossover[{','.join(extra)}]'\n"


@pytest.mark.parametrize("module", BASE)
def test_a_missing_dependency_is_one_line(module: str, tmp_path: Path) -> None:
    for code, error, output in without([module], list(COMMANDS.values()), tmp_path):
        assert (code, output) == (2, "")
        assert re.fullmatch(rf"crossover: {module} is not installed; run: pip install '?crossover\S*\n", error)


def test_parquet_without_its_extra(tmp_path: Path) -> None:
    (tmp_path / "curves.parquet").write_bytes(b"PAR1")
    ((code, error, _),) = without(
        ["pyarrow"], [["analyse", "--curves", "curves.parquet", "--metric", "loss:lower:0.1"]], tmp_path
    )
    assert code == 2
    assert "pyarrow is not installed; run: pip install 'crossover[curves]'" in error
    assert error.count("\n") == 1


@pytest.mark.timeout(600)
def test_a_verb_needs_no_extra_that_it_does_not_declare(tmp_path: Path) -> None:
    """Each verb does its work while every optional package is missing that it does not declare."""
    write_corpus(tmp_path / "corpus")
    (tmp_path / "small.yaml").write_text(SMALL.format(corpus=tmp_path / "corpus"))
    rows = [f"{a},{s},{t},loss,{s + t + (a == 'dlm')}" for a in ("ar", "dlm") for s in range(5) for t in range(1, 9)]
    stories = [json.dumps({"text": f"{number} " + "once upon a time " * 30}) for number in range(60)]
    (tmp_path / "stories.jsonl").write_text("\n".join(stories))
    (tmp_path / "curves.csv").write_text("\n".join(("arm,seed,tokens,metric,value", *rows)))
    study, curves = ["small.yaml", "--out", "ws"], ["analyse", "--curves", "curves.csv", "--metric", "loss:lower:0.1"]
    work = [
        *(["prepare", *study], ["pretrain", *study], ["evaluate", *study]),
        *(["analyse", *study, "--promote", "always"], ["promote", *study], ["plan", "small.yaml"]),
        *(["report", "ws"], ["advise", "ws"], ["doctor"], curves, [*curves, "--out", "curves"]),
        *(["registry", "upgrade"], ["registry", "query", "SELECT 1"], ["compile", "--out", "pipeline.yaml"]),
        *(["registry", "backup", "b.zip"], ["registry", "restore", "b.zip", "--registry", "sqlite:///restored.sqlite"]),
        ["registry", "export", "--parquet", "exported"],
        *(["serve", "ws", "--try"], ["export-model", "ws", "model"], ["lm-eval", "--help"]),
        ["init", "stories.jsonl", "--hours", "100", "--model", "pico", "--seeds", "2", "--epochs", "1"],
    ]
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for arguments in work:
        groups.setdefault(_extras(build_parser().parse_args(arguments)), []).append(arguments)
    for extras, commands in groups.items():
        needed = {module.partition(".")[0] for extra in extras for module in EXTRAS[extra]}
        needed |= {module for package in needed for module in REQUIRED_BY.get(package, ())}
        results = without(set(MODULES) - needed, commands, tmp_path)
        for arguments, (code, error, _) in zip(commands, results, strict=True):
            # doctor reports what is missing with exit code 1
            assert code == (1 if arguments == ["doctor"] else 0), (arguments, error)
