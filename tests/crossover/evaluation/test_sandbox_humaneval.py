"""Real programs in the sandbox: the solutions of HumanEval pass, broken ones fail."""

from __future__ import annotations

import gzip
import json

from crossover.evaluation.sandbox import (
    Limits,
    Outcome,
)
from tests.conftest import PACKS, needs_packs
from tests.crossover.evaluation.test_sandbox import run_programs


def humaneval(body: str | None) -> list[str]:
    with gzip.open(PACKS / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines]
    return [f"{p['prompt']}{body or p['canonical_solution']}\n{p['test']}\ncheck({p['entry_point']})" for p in problems]


@needs_packs
def test_humaneval_s_own_solutions_pass_and_broken_ones_fail() -> None:
    limits = Limits(seconds=30.0)  # some take seconds on a busy machine
    assert run_programs(humaneval(None), limits) == [Outcome("passed", "")] * 164
    broken = run_programs(humaneval("    return None\n"), limits)
    assert [o.status for o in broken] == ["failed"] * 164
