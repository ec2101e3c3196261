"""docs/registry.md: every view and column is there, and every SQL block runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossover.registry import Registry
from crossover.registry.table_format import format_table, table_json
from tests.crossover.registry.conftest import BPB, RUN, points

TEXT = (Path(__file__).parents[3] / "docs" / "registry.md").read_text(encoding="utf-8")
COLUMNS = {
    "v_curves": "study study_digest cell arm seed metric unit direction estimator draws step tokens flops seconds "
    "value state stderr attempt epochs namespace quality_tier",
    "v_runs": "study study_digest cell arm seed status attempts last_step last_tokens checkpoint checkpoint_digest "
    "seconds run_digest namespace quality_tier",
    "v_verdicts": "study study_digest cell metric axis comparison baseline candidate verdict direction crossing_at "
    "crossing_low crossing_high pairs p_adjusted reason analysis_digest analysed_at outcome newest namespace "
    "early_difference early_low early_high late_difference late_low late_high further_pairs quality_tier",
    "v_deployments": "study study_digest cell arm seed step uri checkpoint_digest analysis_digest reason deployed_at "
    "current namespace endpoint revision traffic quality_tier",
    "v_attempts": "study study_digest cell arm seed attempt started_step host pid started_at heartbeat_at ended_at "
    "end_reason run_digest namespace quality_tier",
    "v_datasets": "study study_digest dataset_digest source tokenizer documents duplicates_dropped train_bytes "
    "validation_bytes available_tokens prepared_at namespace",
    "v_evaluations": "study study_digest cell arm seed task score direction estimator draws step tokens epochs value "
    "state stderr run_digest namespace quality_tier",
    "v_serving": "study study_digest cell arm seed step checkpoint_digest decoding device concurrency requests "
    "tokens_per_second first_token_p50 first_token_p99 quality_metric quality quality_stderr measured_at run_digest "
    "namespace quality_tier",
    "v_serving_crossovers": "study study_digest baseline candidate baseline_checkpoint candidate_checkpoint setting "
    "device outcome crossing_at crossing_low crossing_high agreement measured_at newest namespace",
    "v_superseded": "study study_digest cell arm seed metric unit direction estimator draws step tokens flops seconds "
    "value state stderr attempt epochs namespace quality_tier",
}


@pytest.mark.parametrize("view", COLUMNS)
def test_columns_are_frozen_and_documented(registry: Registry, view: str) -> None:
    assert registry.query(f"SELECT * FROM {view}").columns == tuple(COLUMNS[view].split())
    section = TEXT.split(f"### {view}")[1].split("\n#")[0]
    assert set(re.findall(r"`(\w+)`", section)) >= set(COLUMNS[view].split())


@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL), ids=lambda sql: sql[:30])
def test_every_example_runs(registry: Registry, sql: str) -> None:
    registry.record_points(RUN, BPB, points(1, 2, 3))
    assert registry.query(sql).columns


def test_tables_for_people_and_programs(registry: Registry) -> None:
    table = registry.query("SELECT 'x' AS name, 0.1234567 AS value, NULL AS nil")
    assert table_json(table).replace("\n", "").replace(" ", "") == '[{"name":"x","value":0.1234567,"nil":null}]'
    assert "0.123457" in format_table(table)
    wide = registry.query("SELECT 'abcdefghijklmnopqrstuvwxyz' AS name, 1 AS one")
    assert "wxyz" in format_table(wide)
    assert "wxyz" not in format_table(wide, width=20)
    assert max(map(len, format_table(wide, width=20).splitlines())) <= 20
