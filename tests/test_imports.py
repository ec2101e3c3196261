"""What a verb or a stage imports before it works: nothing heavy that it does not use, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_corpus
from tests.test_cli import SMALL

IMPORTED = """
import contextlib, importlib, io, json, sys
work, heavy = json.loads(sys.argv[1]), json.loads(sys.argv[2])
code = 0
if isinstance(work, str):
    importlib.import_module(work)
else:
    from crossover.cli import main
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(work)
        except SystemExit as end:  # of --help
            code = end.code or 0
print(json.dumps([code, sorted(set(heavy) & set(sys.modules))]))
"""
LIGHT = ("numpy", "pydantic", "yaml")
DATABASE = ("sqlalchemy", "alembic")
COMPUTING = ("torch", "scipy", "matplotlib", "pandas", "transformers", "sklearn", "datasets", "lm_eval")
DRAWING = ("altair", "vl_convert", "jinja2")
CLUSTER = ("kfp", "kserve", "fastapi", "kubernetes")
ALL = (*LIGHT, *DATABASE, *COMPUTING, *DRAWING, *CLUSTER)
CURVES = ["analyse", "--curves", "curves.csv", "--metric", "loss:lower:0.1"]


def imported(work: str | list[str], heavy: tuple[str, ...], folder: Path) -> list[object]:
    """The exit code of a verb, 0 for a module that is only imported, and the heavy modules that are loaded then."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED, json.dumps(work), json.dumps(heavy)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answer: list[object] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize(
    ("verb", "heavy"),
    [
        (["--help"], ALL),
        (["run", "demo", "--print-study"], (*COMPUTING, *DRAWING, *CLUSTER)),
        (["prepare", "small.yaml", "--out", "ws"], (*COMPUTING, *DRAWING, *CLUSTER)),
        (CURVES, (*DATABASE, *DRAWING, *CLUSTER, *(set(COMPUTING) - {"scipy"}))),
    ],
    ids=lambda value: value[0],
)
def test_a_verb_imports_nothing_heavy_that_it_does_not_use(
    verb: list[str], heavy: tuple[str, ...], tmp_path: Path
) -> None:
    write_corpus(tmp_path / "corpus")
    (tmp_path / "small.yaml").write_text(SMALL.format(corpus=tmp_path / "corpus"))
    rows = [f"{a},{s},{t},loss,{s + t}" for a in ("ar", "dlm") for s in range(2) for t in range(1, 5)]
    (tmp_path / "curves.csv").write_text("\n".join(("arm,seed,tokens,metric,value", *rows)))
    assert imported(verb, heavy, tmp_path) == [0, []]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("crossover.stages.reuse", (*DATABASE, *COMPUTING)),
        ("crossover.stages.promote_stage", COMPUTING),
        # torch's compiler and its sharding take as long to import as torch itself
        ("crossover.stages.evaluate_stage", ("torch._dynamo", "torch.distributed.fsdp", "sympy", *COMPUTING[1:])),
        ("crossover.stages.analyse_stage", ("torch._dynamo", "torch.distributed.fsdp", "sympy", *COMPUTING[2:])),
    ],
)
def test_a_stage_imports_nothing_heavy_that_it_does_not_use(
    module: str, heavy: tuple[str, ...], tmp_path: Path
) -> None:
    assert imported(module, heavy, tmp_path) == [0, []]
