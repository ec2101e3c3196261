"""A study with one seed runs to its end: everything says `no interval`, and nothing is a verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.errors import StudyError
from crossover.registry import Registry
from crossover.settings import get_settings
from crossover.stages.analyse_stage import analyse_stage
from crossover.stages.evaluate_stage import evaluate_stage
from crossover.stages.prepare_stage import plan_groups, prepare_stage
from crossover.stages.pretrain_stage import pretrain_stage
from crossover.stages.study_context import open_study
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig


def test_no_interval_and_no_verdict(
    tiny_study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = tiny_study.model_dump(mode="json") | {"seeds": 1}
    fields["evaluation"] |= {"samples": 2, "passages": 2}
    study = StudyConfig.model_validate(fields)
    assert study.seeds == (0,)
    with open_study(study, str(tmp_path / "ws")) as context:
        dataset = prepare_stage(context)
        groups = [pretrain_stage(context, dataset, group) for group in plan_groups(context, 1)]
        evaluations = [evaluate_stage(context, dataset, runs) for runs in groups]
        analysis = analyse_stage(context, evaluations, promotion="verdict")
    assert analysis.decision == "hold"
    assert "Insufficient evidence" in analysis.reason
    report = (tmp_path / "ws" / "analysis" / "report.md").read_text()
    for section in ("**Each arm by itself**", "**Tasks by item"):
        table = report.split(section)[1].split("\n\n")[1]
        rows = [row for row in table.splitlines()[2:] if row.startswith("|")]
        assert rows
        assert all("no interval" in row and " ± " not in row and "…" not in row for row in rows)
    assert "Only 1 complete seed pair, and a verdict needs 5" in report
    assert "one pair has no interval" in report
    with Registry.open(get_settings().registry) as registry:
        verdicts = registry.query(
            "SELECT DISTINCT outcome, pairs, crossing_at, crossing_low, early_low, late_low, p_adjusted FROM v_verdicts"
        ).rows
    assert verdicts == (("insufficient evidence", 1, None, None, None, None, None),)
    capsys.readouterr()
    assert main(["advise", str(tmp_path / "ws"), "--json"]) == 0
    advice = capsys.readouterr().out
    assert "one pair has no interval" in advice
    assert {choice["choose"] for choice in _choices(json.loads(advice))} == {"cannot say"}


def _choices(value: object) -> list[dict[str, object]]:
    """Every object of the JSON that chooses."""
    if isinstance(value, dict):
        own = [value] if "choose" in value else []
        return own + [found for part in value.values() for found in _choices(part)]
    return [found for part in value for found in _choices(part)] if isinstance(value, list) else []


def test_no_seed_is_refused() -> None:
    with pytest.raises(StudyError, match="no seed trains nothing"):
        parse_study("seeds: []")
