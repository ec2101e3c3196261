"""Every field of a study is changed, and the digests of its artifacts say what is reused and what is made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from crossover.data.dataset_digests import corpus_digest, dataset_digest
from crossover.data.task_packs import find_pack
from crossover.evaluation.measurement_plan import EvaluationInputs, TaskInputs
from crossover.evaluation.tasks.preparing import cloze_digest, items_digest
from crossover.files import digest_of
from crossover.stages.evaluation_parts import planned_parts
from crossover.study.field_effects import FIELD_EFFECTS, Effects, effects_table
from crossover.study.identity import RunId
from crossover.study.load_study import parse_study
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import DATASET_VERSION, analysis_digest, run_digest
from crossover.study.study_parts import DOMAIN_CLOZE, TrainingConfig
from crossover.tokenization.tokenizer_file import tokenizer_identity

BASE: dict[str, Any] = {
    "name": "base",
    "data": {"source": "jsonl:corpus/*", "sequence_length": 64, "quality": {"scorer": "column", "column": "score"}},
    "grid": {"unique_tokens": [2560, 5120], "models": ["pico", "mini-moe"]},
    "arms": ["ar", "dlm", "ar-decay", "ar-dropout"],
    "seeds": [0, 1, 2],
    "training": {"epochs": 8, "batch_size": 8, "final_rate": 0.1},
    "tuning": {"learning_rates": [0.001, 0.01]},
    "evaluation": {"points": 6, "tasks": [DOMAIN_CLOZE, "blimp", "humaneval"]},
}
CHANGES: dict[str, Any] = {
    "name": "renamed",
    "question": "Reworded?",
    "data.source": "jsonl:other/*",
    "data.sources": [{"source": "jsonl:a/*", "share": 1.0}, {"source": "jsonl:b/*", "share": 2.0}],
    "data.separator": "---",
    "data.text_field": "content",
    "data.sequence_length": 32,
    "data.deduplication.similarity": 0.85,
    "data.deduplication.hashes": 140,
    "data.deduplication.bands": 24,
    "data.contamination.tasks": ["blimp"],
    "grid.unique_tokens": [2560, 5120, 10240],
    "grid.quality": ["low", "high"],
    "grid.models": ["pico", "mini-moe", "nano"],
    "arms": ["ar", "dlm", "ar-decay", "ar-dropout", "bd"],
    "recipes": {"ar-dropout": {"dropout": 0.2}},
    "seeds": [0, 1, 2, 3],
    "training.microbatch_size": 4,
    "training.precision": "bf16",
    "training.epochs": 10,
    "training.decay_steps": 5,
    "tuning.learning_rates": [0.001, 0.02],
    "tuning.weight_decays": [0.1, 0.4],
    "tuning.seeds": [7],
    "tuning.results": [
        {"arm": arm, "learning_rate": rate, "loss": rate} for arm in ("ar", "dlm") for rate in (0.001, 0.01)
    ],
    "evaluation.first_epoch": 2.0,
    "evaluation.tasks": [DOMAIN_CLOZE, "blimp", "humaneval", "lambada"],
    "evaluation.scorer": "other-study/checkpoint",
    "data.cleaning.languages": ["en"],
    "data.quality.scorer": "perplexity",
    "data.quality.column": "other.score",
    "data.quality.tier": "high",
    "analysis.metrics": ["validation_bpb", f"{DOMAIN_CLOZE}_margin"],
    "analysis.axes": ["epochs"],
    "analysis.comparisons": ["matched"],
    "analysis.baseline": "ar-decay",
    "analysis.candidate": "ar-dropout",
    "analysis.tuned": ["ar-decay"],
    "analysis.looks": [5, 8],
    "analysis.early_window": [0.1, 0.4],
    "analysis.late_window": [0.8, 1.0],
}
"""New values where the next number, or the next allowed word, will not do."""
FIXED = {"data.tokenizer"}
"""Fields of one allowed value; what they decide is held once there is a second one."""

OF_WSD = {"training.decay_fraction", "training.decay_steps", "training.decay_shape"}
"""Fields of this schedule, without which they are refused or decide nothing."""


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """The fields of a study by dotted name, with their annotations."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields |= leaves(kind, f"{prefix}{name}.")
        else:
            fields[prefix + name] = kind
    return fields


def changed(study: StudyConfig, field: str) -> StudyConfig:
    """The study with another value of one field."""
    raw = study.model_dump(mode="json")
    *path, last = field.split(".")
    section = raw
    if field == "data.sources":
        raw["data"]["source"] = "stdlib:"  # the two exclude each other
    if field == "data.quality.scorer":
        raw["data"]["quality"]["column"] = ""  # of the other scorer
    for part in path:
        section = section[part]
    default = next((f.default for n, f in TrainingConfig.model_fields.items() if n == last), None)
    old = section.get(last, default)  # some fields are recorded only where they are set
    if field in CHANGES:
        section[last] = CHANGES[field]
    elif isinstance(old, bool):
        section[last] = not old
    elif isinstance(old, int):
        section[last] = old + 1 if field != "training.batch_size" else 2 * old
    elif isinstance(old, float):
        section[last] = old * 0.9 if old else 0.01
    else:
        words = [word for word in leaves(StudyConfig)[field].__args__ if word != old]
        section[last] = words[0]
    after = parse_study(yaml.safe_dump(raw))
    assert after != study, field
    return after


def artifacts(study: StudyConfig) -> dict[str, set[str]]:
    """The digests of all artifacts of a study, over contents that stand for what a corpus would give."""
    corpus = corpus_digest(study.data)
    content = digest_of(study.data.source)
    packs = {name: find_pack(name, Path("none")) for name in study.evaluation.tasks if name != DOMAIN_CLOZE}
    tasks = {name: items_digest(pack, study) for name, pack in packs.items()}
    if DOMAIN_CLOZE in study.evaluation.tasks:
        tasks = {DOMAIN_CLOZE: cloze_digest(corpus, content, study)} | tasks
    runs, evaluations = set(), set()
    for cell in study.cells:
        examples = digest_of([corpus, cell.unique_tokens])
        inputs = EvaluationInputs(
            validation=digest_of([corpus, study.data.validation_tokens]),
            examples=examples,
            tasks={name: TaskInputs(digest, name == "humaneval") for name, digest in tasks.items()},
            scorer=study.evaluation.scorer,
        )
        for arm in study.arms:
            for seed in study.seeds:
                run = RunId(cell.name, arm, seed)
                digest = run_digest(study, run, examples)
                runs.add(digest)
                planned = planned_parts(study, inputs, run, digest)
                evaluations |= {part.digest for parts in planned.values() for part in parts}
    return {
        "dataset": {dataset_digest(study)},
        "tasks": set(tasks.values()),
        "runs": runs,
        "evaluations": evaluations,
        "analysis": {analysis_digest(study.analysis, sorted(evaluations), (), "method")},
    }


def effects(before: StudyConfig, after: StudyConfig) -> Effects:
    old, new = artifacts(before), artifacts(after)
    said = {}
    for kind, digests in new.items():
        said[kind] = "" if digests <= old[kind] else "new" if digests & old[kind] else "all"
    return Effects(**said)  # type: ignore[arg-type]  # the words are those of Effect


def test_every_field_is_in_the_table() -> None:
    assert set(FIELD_EFFECTS) == set(leaves(StudyConfig))


@pytest.mark.parametrize("field", sorted(set(FIELD_EFFECTS) - FIXED))
def test_a_changed_field_makes_anew_what_the_table_says(field: str) -> None:
    schedule = {"schedule": "wsd"} if field in OF_WSD else {}
    base = BASE | {"training": BASE["training"] | schedule}
    if field == "training.expert_parallel":  # which only sharded experts have
        base["training"] |= {"data_parallel": "shard"}
        base["grid"] = BASE["grid"] | {"models": ["mini-moe"]}
    study = parse_study(yaml.safe_dump(base))
    assert effects(study, changed(study, field)) == FIELD_EFFECTS[field]


def test_a_larger_budget_keeps_the_runs_of_the_smaller_ones() -> None:
    study = parse_study(yaml.safe_dump(BASE))
    assert artifacts(study)["runs"] < artifacts(changed(study, "grid.unique_tokens"))["runs"]


def test_a_further_tier_keeps_the_runs_of_the_others() -> None:
    two, three = (
        parse_study(yaml.safe_dump(BASE | {"grid": {**BASE["grid"], "quality": tiers}}))
        for tiers in (["low", "high"], ["high", "low", "all"])
    )
    assert artifacts(two)["runs"] < artifacts(three)["runs"]


def test_fields_of_a_column_of_scores_are_in_no_digest_where_none_is_read() -> None:
    """What a corpus was called before there were such columns; workspaces of then are reused."""
    study = parse_study("data: {source: 'text:corpus/*.txt', quality: {scorer: perplexity}}")
    data = study.data.model_dump(mode="json")
    for field in ("column", "order"):
        del data["quality"][field]
    request = {"version": DATASET_VERSION, "data": data | {"tokenizer": tokenizer_identity("bytes")}}
    assert dataset_digest(study) == digest_of(request | {"budgets": [10_000]})


def test_two_arms_of_one_recipe_are_two_runs() -> None:
    raw = BASE | {"arms": ["ar", "dlm", "twin"], "recipes": {"twin": {"base": "ar"}}}
    study = parse_study(yaml.safe_dump(raw))
    digests = {run_digest(study, RunId(study.cells[0].name, arm, 0), "examples") for arm in ("ar", "twin")}
    assert len(digests) == 2


def test_other_examples_are_another_run() -> None:
    study = parse_study(yaml.safe_dump(BASE))
    run = RunId(study.cells[0].name, "ar", 0)
    assert run_digest(study, run, "sha256:a") != run_digest(study, run, "sha256:b")


def test_the_table_in_the_docs_is_this_one() -> None:
    page = Path(__file__).parents[3] / "docs" / "reuse.md"
    assert effects_table() in page.read_text("utf-8")
