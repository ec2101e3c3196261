"""A small study that went through the stages once, and ways to run and edit it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossover.stages.analyse_stage import analyse_stage
from crossover.stages.evaluate_stage import evaluate_stage
from crossover.stages.prepare_stage import plan_groups, prepare_stage
from crossover.stages.pretrain_stage import pretrain_stage
from crossover.stages.stage_manifests import AnalysisRef
from crossover.stages.study_context import open_study
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from tests.conftest import write_corpus


def run_stages(study: StudyConfig, workspace: str) -> AnalysisRef:
    """The pipeline's stages in this process, up to the analysis."""
    with open_study(study, workspace) as context:
        dataset = prepare_stage(context)
        evaluations = [
            evaluate_stage(context, dataset, pretrain_stage(context, dataset, group))
            for group in plan_groups(context, 2)
        ]
        return analyse_stage(context, evaluations, promotion="never")


def edited(study: StudyConfig, edit: Callable[[dict[str, Any]], object]) -> StudyConfig:
    raw = study.model_dump(mode="json")
    edit(raw)
    return parse_study(yaml.safe_dump(raw))


def train_study(folder: Path) -> StudyConfig:
    """Take a small study through the stages, in `ws` of a folder: the fixture `trained`."""
    corpus = write_corpus(folder / "corpus")
    study = parse_study(
        f"""
name: reuse
data: {{source: "text:{corpus}/*.txt", sequence_length: 16, validation_fraction: 0.3, validation_tokens: 128}}
grid: {{unique_tokens: [512], models: [pico]}}
seeds: 2
training: {{epochs: 4, batch_size: 8, warmup_steps: 2}}
evaluation:
  {{points: 3, nelbo_draws: 4, chain_rule_examples: 0, cloze_items: 8, cloze_draws: 2, samples: 2, passages: 2}}
analysis: {{metrics: [validation_bpb]}}
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSOVER_HOME", str(folder / "home"))
        patch.setenv("CROSSOVER_THREADS", "1")
        run_stages(study, str(folder / "ws"))
    return study
