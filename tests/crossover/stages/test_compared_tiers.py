"""A study of two tiers of real text through all stages: cells, verdicts, registry, report, advice and reuse by tier."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from crossover.cli import main
from crossover.data.dataset import Dataset
from crossover.errors import StudyError
from crossover.registry import Registry
from crossover.settings import get_settings
from crossover.stages.reuse import plan_reuse
from crossover.stages.run_selection import parse_selection
from crossover.storage import open_store
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from tests.conftest import PACKS, WITHOUT_PACKS
from tests.crossover.stages.trained_study import run_stages

SHAKESPEARE = PACKS.parent / "text" / "tinyshakespeare.txt.gz"
LOW, HIGH = "u1024-low-pico", "u1024-high-pico"
pytestmark = [
    pytest.mark.skipif(not SHAKESPEARE.is_file(), reason=WITHOUT_PACKS),
]


@pytest.fixture
def study(tmp_path: Path) -> StudyConfig:
    """Speeches, scored by their longest line: a number that comes with each document."""
    speeches = gzip.decompress(SHAKESPEARE.read_bytes()).decode().split("\n\n")[:600]
    rows = [{"text": text, "score": {"line": max(map(len, text.splitlines()))}} for text in speeches if text.strip()]
    (tmp_path / "speeches.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return parse_study(
        f"""
name: tiers
data:
  source: "jsonl:{tmp_path}/speeches.jsonl"
  sequence_length: 32
  validation_tokens: 512
  tokenizer: "bpe:300"
  quality: {{scorer: column, column: score.line}}
grid: {{unique_tokens: [1024], quality: [high, low], models: [pico]}}
seeds: 2
training: {{epochs: 4, batch_size: 8, warmup_steps: 2}}
evaluation:
  {{points: 3, nelbo_draws: 2, chain_rule_examples: 0, cloze_items: 4, cloze_draws: 1, samples: 1, passages: 1}}
"""
    )


def test_two_tiers_of_real_text_go_through_all_stages(
    study: StudyConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "ws"
    before = plan_reuse(study, open_store(str(workspace)))
    assert [(row.reused, row.new) for row in before.rows[2:3]] == [(0, 8)]
    decision = run_stages(study, str(workspace))
    assert decision.winner.run.cell in (LOW, HIGH)

    with Registry.open(get_settings().registry) as registry:
        done = "SELECT cell, COUNT(*) FROM v_runs WHERE status = 'done' GROUP BY cell ORDER BY cell"
        assert registry.query(done).rows == ((HIGH, 4), (LOW, 4))
        stored = "SELECT DISTINCT cell, json_extract(config, '$.quality') FROM run ORDER BY cell"
        assert registry.query(stored).rows == ((HIGH, "high"), (LOW, "low"))
        assert registry.query("SELECT DISTINCT cell FROM v_verdicts ORDER BY cell").rows == ((HIGH,), (LOW,))

    overview = json.loads((workspace / "analysis" / "overview.json").read_text())
    assert [cell["quality"] for cell in overview["cells"]] == ["low", "high"]
    assert [advice["quality"] for advice in overview["advice"]] == ["low", "high"]
    page = (workspace / "analysis" / "report.html").read_text("utf-8")
    assert "Tiers that are compared" in page
    assert "Whether quality moves the crossing with 1,024 unique tokens" in page

    (folder,) = (workspace / "datasets").glob("*/train.bin")
    dataset = Dataset.open(folder.parent)
    rows = {tier: np.asarray(dataset.train(1024, 0, tier)) for tier in ("low", "high")}
    texts = {tier: dataset.tokenizer.decode(rows_NL.ravel().tolist()) for tier, rows_NL in rows.items()}
    longest = {tier: sum(map(len, text.splitlines())) / len(text.splitlines()) for tier, text in texts.items()}
    assert longest["high"] > longest["low"], "the score decides what is trained on"

    after = plan_reuse(study, open_store(str(workspace)))
    assert [(row.artifact, row.new) for row in after.rows if row.new] == []
    assert set(after.evaluated) == set(before.new_runs)

    assert main(["advise", str(workspace), "--unique-tokens", "1024", "--parameters", "pico", "--json"]) == 0
    advice = json.loads(capsys.readouterr().out)
    assert [(one["quality"], one["unique_tokens"]) for one in advice] == [("low", 1024), ("high", 1024)]
    assert main(["advise", str(workspace)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "parameters" in line and "quality" in line]
    assert [line.partition("quality ")[2].partition(",")[0] for line in lines] == ["low", "high"]


def test_runs_of_a_round_name_the_tier(study: StudyConfig) -> None:
    rounds = study.model_copy(
        update={"analysis": study.analysis.model_copy(update={"looks": (5, 8)}), "seeds": tuple(range(8))}
    )
    assert parse_selection(rounds, f"{HIGH}:1,0") == {HIGH: (0, 1)}
    with pytest.raises(StudyError, match=f"names no cell among {LOW}, {HIGH}"):
        parse_selection(rounds, "u1024-pico:0")
