"""What a corpus is taken for before a study describes it; a plan and a preparation count the same tokens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from crossover.data.corpus_survey import source_of, survey_corpus
from crossover.data.prepare_dataset import check_budget, prepare_dataset
from crossover.data.split_corpus import read_corpus
from crossover.errors import DataError
from crossover.study.load_study import parse_study


def documents(count: int, length: int = 200) -> list[str]:
    return [f"{number:06d} " + "words and more of them " * (length // 23) for number in range(count)]


def test_a_folder_means_its_main_kind_of_files(tmp_path: Path) -> None:
    for number, text in enumerate(documents(40)):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{number}.txt").write_text(text)
    (tmp_path / "README.md").write_text("short")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "pack").write_bytes(bytes(100_000))
    survey = survey_corpus(source_of(str(tmp_path)))
    assert survey.data.source == f"text:{tmp_path.as_posix()}/**/*.txt"
    assert (survey.documents, survey.counts.files) == (40, 40)


def test_json_lines_are_recognised_and_the_field_with_the_text(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl.gz"
    with gzip.open(file, "wt") as lines:
        for number, text in enumerate(documents(30)):
            lines.write(json.dumps({"id": str(number), "body": text}) + "\n")
    survey = survey_corpus(source_of(str(tmp_path)))
    assert survey.data.source.startswith("jsonl:")
    assert survey.data.text_field == "body"
    assert survey.documents == 30
    assert source_of(str(file), text_field="id").text_field == "id"


def test_one_file_is_cut_at_a_usual_separator(tmp_path: Path) -> None:
    file = tmp_path / "all.txt"
    file.write_text("\n\n\n".join(documents(40)))
    survey = survey_corpus(source_of(str(file)))
    assert survey.data.separator == "\n\n\n"
    assert survey.documents == 40
    given = survey_corpus(source_of(str(file), separator="\n\n\n0"))
    assert (given.data.separator, given.documents) == ("\n\n\n0", 40)


def test_documents_that_are_not_utf8_are_counted(tmp_path: Path) -> None:
    for number, text in enumerate(documents(30)):
        (tmp_path / f"{number}.txt").write_text(text)
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe" * 50)
    survey = survey_corpus(source_of(str(tmp_path)))
    assert (survey.documents, survey.counts.undecodable) == (30, 1)


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"one document only " * 100, "a.txt", "init.too-few-documents"),
        (bytes(range(128, 256)) * 100, "a.parquet", "init.no-text-field"),
        (bytes(range(128, 256)) * 100, "a.bin", "init.too-few-documents"),
        (b'{"id": 1}\n', "a.jsonl", "init.no-text-field"),
        (b"no json\n", "a.jsonl", "init.no-text-field"),
        (b"[" * 100_000, "a.jsonl", "init.no-text-field"),
    ],
)
def test_what_cannot_be_a_corpus_is_refused(content: bytes, name: str, code: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        survey_corpus(source_of(str(tmp_path / name)))
    assert caught.value.code == code
    with pytest.raises(DataError, match="matches no file"):
        source_of(str(tmp_path / "absent.txt"))


def test_a_plan_refuses_exactly_the_budgets_that_the_preparation_refuses(tmp_path: Path) -> None:
    """And so does the survey's count agree with the manifest's."""
    for number, text in enumerate(documents(60, length=300)):
        (tmp_path / f"{number}.txt").write_text(text)
    source = f"text:{tmp_path}/*.txt"
    study = parse_study(json.dumps({"data": {"source": source}, "grid": {"unique_tokens": [1024]}}))
    with read_corpus(study.data, tmp_path) as corpus:
        available = prepare_dataset(study, corpus, tmp_path / "dataset").manifest.available_tokens
    assert survey_corpus(source_of(source)).train_tokens(study.data.sequence_length) == available
    for budget, fits in ((available, True), (available + 64, False)):
        larger = study.model_copy(update={"grid": study.grid.model_copy(update={"unique_tokens": (budget,)})})
        if fits:
            check_budget(larger)
            continue
        with read_corpus(study.data, tmp_path) as corpus:
            with pytest.raises(DataError) as prepared:
                prepare_dataset(larger, corpus, tmp_path / "larger")
            with pytest.raises(DataError) as planned:
                check_budget(larger)
        assert str(planned.value) == str(prepared.value)
        assert f"at most {available} " in planned.value.remedy


@pytest.mark.parametrize(
    ("number", "length", "code"),
    [(0, 300, "data.empty"), (3, 300, "data.too-few-documents"), (30, 300, "data.held-out-too-short")],
)
def test_a_plan_refuses_a_corpus_of_which_nothing_is_held_out(
    number: int, length: int, code: str, tmp_path: Path
) -> None:
    (tmp_path / "blank.txt").write_text("")
    for i, text in enumerate(documents(number, length=length)):
        (tmp_path / f"{i}.txt").write_text(text)
    data = {"source": f"text:{tmp_path}/*.txt", "sequence_length": 1024, "validation_fraction": 0.01}
    data["validation_tokens"] = 1024
    if code == "data.held-out-too-short":
        data["validation_fraction"] = 0.05
    study = parse_study(json.dumps({"data": data, "grid": {"unique_tokens": [1024]}}))
    with read_corpus(study.data, tmp_path) as corpus, pytest.raises(DataError) as prepared:
        prepare_dataset(study, corpus, tmp_path / "dataset")
    with pytest.raises(DataError) as planned:
        check_budget(study)
    assert (planned.value.code, str(planned.value)) == (code, str(prepared.value))


def test_parquet_arrow_and_datasets_are_recognised_with_the_field_of_the_text(tmp_path: Path) -> None:
    texts = documents(30)
    table = pa.table({"id": [str(number) for number in range(30)], "body": texts})
    (tmp_path / "parts").mkdir()
    pq.write_table(table, tmp_path / "parts" / "a.parquet")
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    for corpus, source in (
        (f"{tmp_path}/parts", f"parquet:{tmp_path}/parts/**/*.parquet"),
        (f"{tmp_path}/a.arrow", f"arrow:{tmp_path}/a.arrow"),
        (f"hf:{tmp_path}/parts", f"hf:{tmp_path}/parts"),
    ):
        survey = survey_corpus(source_of(corpus))
        assert (survey.data.source, survey.data.text_field, survey.documents) == (source, "body", 30)


def test_a_checkout_is_a_source_tree(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for number, text in enumerate(documents(40)):
        (tmp_path / f"{number}.py").write_text(text)
    (tmp_path / "LICENSE").write_text("Apache License")
    survey = survey_corpus(source_of(str(tmp_path)))
    assert (survey.data.source, survey.documents) == (f"tree:{tmp_path}", 40)
    assert survey.counts.parts[0].licences == [f"{tmp_path}/LICENSE: Apache-2.0"]
