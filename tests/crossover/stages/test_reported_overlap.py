"""Overlap of the sides of the split, and of tasks, is told wherever a dataset is: prepare, data card, report."""

import json
from pathlib import Path

import pytest
import yaml

from crossover.cli import main
from crossover.data.dataset import Dataset
from crossover.files import digest_of_file
from crossover.report.data_card import card_markdown, data_card
from crossover.report.report_data import CorpusFacts
from crossover.report.report_tables import corpus as corpus_rows
from crossover.settings import get_settings
from crossover.study.load_study import load_study
from crossover.study.study_config import StudyConfig


@pytest.fixture
def quiz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The text of an item of the pack `quiz`."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    item = "which of the nine old ships in the harbour of the small town came back last of all"
    document = {"query": item, "choices": ["this", "that"], "gold": 0}
    (folder / "quiz.jsonl").write_text(json.dumps(document) + "\n")
    digest = digest_of_file(folder / "quiz.jsonl").removeprefix("sha256:")
    pack = {"format": "choices", "licence": "none", "file": "quiz.jsonl", "sha256": digest}
    (folder / "quiz.yaml").write_text(yaml.safe_dump(pack))
    monkeypatch.setenv("CROSSOVER_TASKS", str(folder))
    get_settings.cache_clear()
    return item


def prepared(study: StudyConfig, tmp_path: Path, **changes: object) -> tuple[Path, Dataset]:
    raw = study.model_dump(mode="json")
    raw["data"] |= {"sequence_length": 32, **changes}
    raw["evaluation"]["tasks"] = ["quiz"]
    del raw["analysis"]["metrics"]  # of another task
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert main(["prepare", str(path), "--out", str(tmp_path / "out")]) == 0
    datasets = sorted((tmp_path / "out" / "datasets").glob("*/manifest.json"), key=lambda file: file.stat().st_mtime_ns)
    return path, Dataset.open(datasets[-1].parent)


def test_a_task_in_the_training_text_is_reported_and_removed(
    tiny_study: StudyConfig, corpus: Path, quiz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):  # on the training side, some at least
        (corpus / f"copy-{number}.txt").write_text(f"text {number} before it\n{quiz}\nand after it {number}\n")
    path, dataset = prepared(tiny_study, tmp_path)
    held_out, task = dataset.manifest.contamination
    assert (task.target, task.texts_in_training, task.dropped) == ("quiz", 1, 0)
    assert task.contaminated > 0 and task.examples[0][1] == "quiz:1"
    said = capsys.readouterr().out
    assert f"of {held_out.ngrams:,} 13-grams of held-out documents" in said
    assert "warning: 1 of 1 quiz stand for the most part in the training documents" in said
    card = card_markdown(data_card(load_study(str(path)), dataset.manifest))
    for line in (*dataset.manifest.overlap, *dataset.manifest.warnings):
        assert line in card
    assert f"| {task.examples[0][0]} | quiz:1 |" in card
    facts = CorpusFacts(source="s", documents=1, bytes=1, train_tokens=1, validation_tokens=1, duplicates_dropped=0,
                        overlap=dataset.manifest.overlap, digest="d")  # fmt: skip
    assert [value for label, value in corpus_rows(facts) if label == "Overlap with held-out text"] == [*facts.overlap]

    _, cleaned = prepared(tiny_study, tmp_path, contamination={"mode": "drop", "tasks": ["quiz"]})
    _, task = cleaned.manifest.contamination
    assert task.dropped > 0 and task.ngrams_in_training == 0 and task.texts_in_training == 0


def test_a_task_that_was_added_later_is_named_as_not_counted(
    tiny_study: StudyConfig, quiz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tiny_study.model_dump(mode="json")
    raw["data"]["sequence_length"] = 32
    path = tmp_path / "first.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert main(["prepare", str(path), "--out", str(tmp_path / "out")]) == 0
    assert "not looked for" not in capsys.readouterr().out
    _, dataset = prepared(tiny_study, tmp_path)
    assert [counts.target for counts in dataset.manifest.contamination] == ["held-out documents"]
    assert "not looked for in the training documents, which stood before: quiz" in capsys.readouterr().out
