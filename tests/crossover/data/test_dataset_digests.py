"""Packs whose items leave out training documents name the dataset; no others do, and no study without them changes."""

import json
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.data.dataset_digests import corpus_digest, dataset_digest
from crossover.errors import DataError
from crossover.files import digest_of, digest_of_file
from crossover.settings import get_settings
from crossover.stages.prepare_stage import leave_dataset, prepare_stage, prepared_dataset
from crossover.stages.study_context import open_study
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import DATASET_VERSION
from tests.crossover.data.test_prepare import changed
from tests.crossover.data.test_reviewed_faults import texts

QUIZ = "Which of the rivers that cross the plain reaches the northern sea before the first snow falls in the hills?"


@pytest.fixture
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packs"
    folder.mkdir()
    monkeypatch.setenv("CROSSOVER_TASKS", str(folder))
    get_settings.cache_clear()
    write_pack(folder, QUIZ)
    return folder


def write_pack(folder: Path, text: str, licence: str = "none") -> None:
    (folder / "quiz.jsonl").write_text(json.dumps({"query": text, "choices": ["a", "b"], "gold": 0}) + "\n")
    digest = digest_of_file(folder / "quiz.jsonl").removeprefix("sha256:")
    fields = {"format": "multiple-choice", "licence": licence, "file": "quiz.jsonl", "sha256": digest}
    (folder / "quiz.yaml").write_text(json.dumps(fields))


def with_contamination(study: StudyConfig, **fields: object) -> StudyConfig:
    return changed(study, data={"contamination": fields}, evaluation={"tasks": []})


@pytest.mark.usefixtures("packs")
def test_digests_follow_the_contents_of_packs_that_leave_out_documents(tiny_study: StudyConfig, packs: Path) -> None:
    dropping = with_contamination(tiny_study, mode="drop", tasks=["quiz"])
    counting = with_contamination(tiny_study, mode="count", tasks=["quiz"])
    before = [(dataset_digest(study), corpus_digest(study.data)) for study in (dropping, counting)]
    write_pack(packs, QUIZ, licence="MIT")
    assert [(dataset_digest(study), corpus_digest(study.data)) for study in (dropping, counting)] == before
    write_pack(packs, QUIZ + " The eastern one.")
    after = [(dataset_digest(study), corpus_digest(study.data)) for study in (dropping, counting)]
    assert after[1] == before[1]
    assert after[0][0] != before[0][0] and after[0][1] != before[0][1]


def test_a_study_that_only_counts_keeps_its_digest(tiny_study: StudyConfig) -> None:
    unread = {"quality": {"column", "order"}}
    data = tiny_study.data.model_dump(mode="json", exclude=unread)
    values = {"version": DATASET_VERSION, "data": data, "budgets": list(tiny_study.grid.unique_tokens)}
    assert dataset_digest(tiny_study) == digest_of(values)
    split = changed(tiny_study, data={"deduplication": {"near": "split"}})
    values["data"] = split.data.model_dump(mode="json", exclude=unread)
    assert dataset_digest(split) != digest_of(values)  # other scripts are compared since


def test_a_pack_of_other_contents_gives_another_dataset(tiny_study: StudyConfig, packs: Path, tmp_path: Path) -> None:
    rows = [*texts(80), f"A page of a quiz. {QUIZ}", f"Another page. {QUIZ[::-1]}"]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    study = changed(
        tiny_study,
        data={
            "source": f"jsonl:{tmp_path}/x.jsonl",
            "contamination": {"mode": "drop", "tasks": ["quiz"]},
            "validation_fraction": 0.1,
        },
        grid={"unique_tokens": [640]},
        evaluation={"tasks": []},
    )
    dropped = []
    with open_study(study, str(tmp_path / "w")) as context:
        for text in (QUIZ, QUIZ[::-1], "an item of words that nobody ever wrote down in any document of this corpus"):
            write_pack(packs, text)
            leave_dataset(context, prepare_stage(context))
            dataset = prepared_dataset(context)
            dropped.append(next(c.dropped for c in dataset.manifest.contamination if c.target == "quiz"))
        for path in packs.iterdir():
            path.unlink()
        assert prepared_dataset(context).manifest == dataset.manifest  # later stages run in pods without packs
    assert dropped == [1, 1, 0]


@pytest.mark.parametrize(("verb", "mode"), [("plan", "drop"), ("prepare", "drop"), ("prepare", "count")])
@pytest.mark.usefixtures("packs")
def test_an_unknown_pack_is_told_by_the_field_that_names_it(
    verb: str, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = {"data": {"contamination": {"mode": mode, "tasks": ["quizz"]}}, "evaluation": {"tasks": []}}
    (tmp_path / "study.yaml").write_text(json.dumps(study))
    assert main([verb, str(tmp_path / "study.yaml"), "--out", str(tmp_path / "w")]) == 2
    assert "data.contamination.tasks: unknown task 'quizz'" in capsys.readouterr().err


def test_a_missing_file_of_a_pack_is_told_by_the_field_that_names_it(
    tiny_study: StudyConfig, packs: Path, tmp_path: Path
) -> None:
    (packs / "quiz.jsonl").unlink()
    study = with_contamination(tiny_study, mode="drop", tasks=["quiz"])
    with (
        open_study(study, str(tmp_path / "w")) as context,
        pytest.raises(DataError, match="does not exist") as caught,
    ):
        prepare_stage(context)
    assert caught.value.field == "data.contamination.tasks: quiz"
