"""The catalogue of metrics: names, defaults of the analysis plan, what a study records, and the page of the docs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crossover.metric_catalogue import METRICS, TASK_METRICS, metric_of
from crossover.model.mixture_of_experts import ROUTER_STATISTICS
from crossover.stages.evaluate_stage import evaluate_stage
from crossover.stages.prepare_stage import prepare_stage
from crossover.stages.pretrain_stage import pretrain_stage
from crossover.stages.stage_manifests import Group
from crossover.stages.study_context import open_study
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from tests.crossover.evaluation.test_tasks import save_model
from tests.metric_tables import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page()


@pytest.mark.parametrize(
    ("name", "label", "unit", "direction", "delta"),
    [
        ("validation_bpb", "Validation loss", "bits/byte", "lower", 0.02),
        ("domain-cloze_accuracy", "Domain cloze accuracy", "fraction", "higher", 0.02),
        ("domain-cloze_margin", "Domain cloze margin", "nats/token", "higher", 0.02),
        ("arc-easy_accuracy_norm", "Arc easy normalized accuracy", "fraction", "higher", 0.02),
        ("sample_copied_32", "Sample n-grams copied", "fraction", "lower", 0.02),
        ("heldout_entropy", "Held-out text entropy", "bits/token", "higher", None),
    ],
)
def test_names_with_a_task_or_a_number(name: str, label: str, unit: str, direction: str, delta: float | None) -> None:
    metric = metric_of(name)
    assert (metric.name, metric.label, metric.unit, metric.direction, metric.delta) == (
        *(name, label, unit, direction, delta),
    )


@pytest.mark.parametrize("name", ["loss", "_accuracy", "accuracy", "sample_copied", "sample_copied_all", ""])
def test_unknown_names(name: str) -> None:
    with pytest.raises(KeyError):
        metric_of(name)


def test_the_default_plan_takes_labels_and_deltas_from_the_catalogue() -> None:
    for metric in StudyConfig().analysis.metrics:
        known = metric_of(metric.name)
        assert (metric.label, metric.unit, metric.direction, metric.delta) == (
            *(known.label, known.unit, known.direction, known.delta),
        )


def test_a_study_records_metrics_of_the_catalogue_only(tmp_path: Path, corpus: Path) -> None:
    scorer = save_model(tmp_path / "scorer", causal=True, length=16)
    study = parse_study(
        f"""
name: tiny
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [512], models: [pico]}}
seeds: 2
training: {{epochs: 2, batch_size: 8, warmup_steps: 2}}
evaluation: {{points: 2, nelbo_draws: 2, chain_rule_examples: 1, chain_rule_points: 1, writing_points: 1,
             cloze_items: 4, cloze_draws: 2, samples: 2, passages: 2, scorer: "{scorer}"}}
"""
    )
    with open_study(study, str(tmp_path / "ws"), f"sqlite:///{tmp_path}/registry.sqlite") as context:
        dataset = prepare_stage(context)
        for arm in study.arms:
            runs = pretrain_stage(context, dataset, Group(cell=study.cells[0].name, arm=arm, seeds=(0,)))
            evaluate_stage(context, dataset, runs)
    with closing(sqlite3.connect(tmp_path / "registry.sqlite")) as database:
        recorded = set(database.execute("SELECT name, unit, direction FROM metric_def"))
    for name, unit, direction in recorded:
        metric = metric_of(name)
        assert (unit, direction) == (metric.unit, metric.direction), name
    names = {name for name, _, _ in recorded}
    choices = {f"domain-cloze_{name}" for name, metric in TASK_METRICS.items() if metric.by_likelihood}
    sometimes = {"mfu", "energy_joules", "sample_bpb", *ROUTER_STATISTICS}
    """Recorded only where the device reports them, where the scorer has another tokenizer, or by sparse models."""
    assert "sample_bpb" not in names
    assert names | sometimes == {*METRICS, *choices, "sample_copied_8", "heldout_copied_8"} | sometimes
