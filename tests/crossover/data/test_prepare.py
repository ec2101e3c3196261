"""From a corpus to a dataset: normalised, without duplicates, split by document, nested budgets."""

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossover.data.cleaning.normalisation import normalise
from crossover.data.dataset import Dataset
from crossover.data.domain_cloze import ClozeItem
from crossover.data.prepare_dataset import prepare_cloze, prepare_dataset
from crossover.data.sources import SourceCounts, documents
from crossover.data.split_corpus import read_corpus
from crossover.data.task_items import TaskItems, write_cloze_items, write_pack_items
from crossover.data.task_packs import Pack, read_pack
from crossover.errors import DataError, WorkspaceError
from crossover.files import digest_of_file
from crossover.study.data_config import DataConfig
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import BYTES, EOS
from tests.conftest import write_corpus


def changed(study: StudyConfig, **parts: dict[str, object]) -> StudyConfig:
    raw = study.model_dump(mode="json")
    for part, fields in parts.items():
        raw[part] = {**raw[part], **fields}
    if "evaluation" in parts:
        del raw["analysis"]["metrics"]  # by default those of the tasks that are evaluated
    return StudyConfig.model_validate(raw)


def prepare(study: StudyConfig, folder: Path) -> Dataset:
    with read_corpus(study.data, folder.parent / "scratch") as corpus:
        return prepare_dataset(study, corpus, folder)


def prepare_tasks(study: StudyConfig, dataset: Dataset, folder: Path) -> TaskItems:
    with read_corpus(study.data, folder.parent / "scratch") as corpus:
        return prepare_cloze(study, dataset, corpus, folder)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(budgets=st.sets(st.integers(600, 2000), min_size=2, max_size=4), length=st.sampled_from([8, 16, 32]))
def test_budgets_are_nested_and_distinct(
    tiny_study: StudyConfig, tmp_path: Path, budgets: set[int], length: int
) -> None:
    study = changed(
        tiny_study, grid={"unique_tokens": sorted(budgets)}, data={"sequence_length": length, "validation_tokens": 64}
    )
    dataset = prepare(study, tmp_path / study.digest[-12:])
    largest = dataset.train(max(budgets))
    for budget in sorted(budgets):
        rows = dataset.train(budget)
        assert rows.shape == (budget // length, length)
        np.testing.assert_array_equal(rows, largest[: len(rows)])


def test_no_held_out_text_is_trained_on(tiny_study: StudyConfig, tmp_path: Path) -> None:
    dataset = prepare(tiny_study, tmp_path / "d")
    texts = {name: text for name, text, _ in documents(tiny_study.data, SourceCounts())}
    held = dataset.validation()
    homes = [{name for name, text in texts.items() if BYTES.decode(row) in text} for row in held if EOS not in row]
    trained = [BYTES.decode(row) for row in dataset.train(1024) if EOS not in row]
    items = prepare_tasks(tiny_study, dataset, tmp_path / "cloze").documents()
    clusters = {item["cluster"] for _, item in items}
    train_homes = set().union(*({n for n, t in texts.items() if piece in t} for piece in trained if len(piece) > 15))
    unique_homes = {next(iter(h)) for h in homes if len(h) == 1}
    assert unique_homes
    owners = [{n for n, t in texts.items() if piece in t} for piece in trained]
    assert not {next(iter(o)) for o in owners if len(o) == 1} & unique_homes
    assert clusters <= set(texts)
    assert train_homes


def test_duplicates_are_dropped_and_counted(tiny_study: StudyConfig, corpus: Path, tmp_path: Path) -> None:
    before = prepare(tiny_study, tmp_path / "a")
    (corpus / "copy.txt").write_text((corpus / "000.txt").read_text() + "  \n\n")
    (corpus / "empty.txt").write_text(" \n")
    after = prepare(tiny_study, tmp_path / "b")
    assert after.manifest.duplicates_dropped == before.manifest.duplicates_dropped + 1
    assert after.manifest.empty_dropped == 1
    assert after.manifest.files["train.bin"] == before.manifest.files["train.bin"]


def test_preparing_again_is_the_same(tiny_study: StudyConfig, tmp_path: Path) -> None:
    first = prepare(tiny_study, tmp_path / "a")
    assert prepare(tiny_study, tmp_path / "b").manifest.digest == first.manifest.digest


def test_a_larger_budget_keeps_the_examples_of_the_smaller_ones(tiny_study: StudyConfig, tmp_path: Path) -> None:
    before = prepare(tiny_study, tmp_path / "a").manifest
    after = prepare(changed(tiny_study, grid={"unique_tokens": [512, 1024, 2048]}), tmp_path / "b").manifest
    assert [budget.digest for budget in after.budgets[:2]] == [budget.digest for budget in before.budgets]
    assert after.files["validation.bin"] == before.files["validation.bin"]


def test_cloze_items_of_a_changed_corpus_are_refused(tiny_study: StudyConfig, corpus: Path, tmp_path: Path) -> None:
    dataset = prepare(tiny_study, tmp_path / "a")
    (corpus / "new.txt").write_text("another document " * 20)
    with pytest.raises(DataError, match="could be text that runs were trained on"):
        prepare_tasks(tiny_study, dataset, tmp_path / "cloze")


def test_an_altered_file_is_noticed(tiny_study: StudyConfig, tmp_path: Path) -> None:
    prepare(tiny_study, tmp_path / "a")
    content = bytearray((tmp_path / "a" / "train.bin").read_bytes())
    content[7] ^= 1
    (tmp_path / "a" / "train.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"train\.bin does not have the recorded digest"):
        Dataset.open(tmp_path / "a")


def test_cloze_items_are_balanced_and_distinct(tiny_study: StudyConfig, tmp_path: Path) -> None:
    dataset = prepare(tiny_study, tmp_path / "a")
    cloze = prepare_tasks(tiny_study, dataset, tmp_path / "cloze")
    items = [item for _, item in cloze.documents()]
    assert len(items) == cloze.manifest.items == 8
    assert np.bincount([item["gold"] for item in items]).tolist() == [2, 2, 2, 2]
    for item in items:
        assert len(set(item["options"])) == 4
        assert {len(option) for option in item["options"]} == {4}
        assert len(item["context"]) == 12


def test_json_lines_and_compression(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": i, "body": f"document {i}\r\nline"}) + "\n" for i in range(3))
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write(lines)
    with lzma.open(tmp_path / "b.jsonl.xz", "wt") as file:
        file.write(lines)
    config = DataConfig(source=f"jsonl:{tmp_path}/*", text_field="body")
    texts = [text for _, text, _ in documents(config, SourceCounts())]
    assert texts == [f"document {i}\nline" for i in range(3)] * 2


SEPARATORS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
"""Characters at which `str.splitlines` cuts, and JSON and our files do not."""


def test_lines_are_cut_at_newlines_only(tmp_path: Path) -> None:
    raw = json.dumps({"text": SEPARATORS}, ensure_ascii=False)  # escapes what is below U+0020
    (tmp_path / "x.jsonl").write_text(f'{raw}\n{raw[:-2]}2"}}\n', "utf-8")
    for config in (
        DataConfig(source=f"jsonl:{tmp_path}/x.jsonl"),
        DataConfig(source=f"text:{tmp_path}/x.jsonl", separator="\n"),
    ):
        assert len(list(documents(config, SourceCounts()))) == 2
    document = {"query": SEPARATORS, "choices": ["a", SEPARATORS], "gold": 0}
    pack = Pack(name="p", format="multiple-choice", licence="none", file="p.jsonl", sha256="0" * 64)
    (tmp_path / "p.jsonl").write_text(json.dumps(document, ensure_ascii=False) + "\n", "utf-8")
    pack = pack.model_copy(update={"sha256": digest_of_file(tmp_path / "p.jsonl").removeprefix("sha256:")})
    assert list(read_pack(pack, tmp_path)) == [document]
    items = write_pack_items(tmp_path / "pack", pack, [(0, document), (7, document)], 0)
    assert items.documents() == [(0, document), (7, document)]
    cloze = ClozeItem(id="1", cluster=SEPARATORS, context=(1,), options=((2,), (3,)), gold=0)
    assert write_cloze_items(tmp_path / "cloze", [cloze]).documents() == [(0, cloze.model_dump())]


def test_a_separator_cuts_documents_across_read_blocks(tmp_path: Path) -> None:
    pieces = [f"piece {i} " + "x" * 50_000 for i in range(60)]
    (tmp_path / "all.txt").write_text("<|end|>".join(pieces))
    config = DataConfig(source=f"text:{tmp_path}/all.txt", separator="<|end|>")
    assert [text for _, text, _ in documents(config, SourceCounts())] == pieces


@given(st.text())
def test_normalising_is_idempotent_and_tokens_round_trip(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    normal = normalise(text)
    assert normalise(normal) == normal
    assert BYTES.decode(BYTES.encode(normal)) == normal


def test_hugging_face_tokenizer_names_every_byte_once() -> None:
    model = BYTES.hugging_face_json()["model"]
    assert isinstance(model, dict)
    vocabulary = model["vocab"]
    assert sorted(vocabulary.values()) == list(range(259))


class TestBadInput:
    @pytest.mark.parametrize(
        ("data", "grid", "field"),
        [
            ({"source": "text:nowhere/*.txt"}, {}, "data.source"),
            ({}, {"unique_tokens": [10_000_000]}, "grid.unique_tokens"),
            ({"validation_fraction": 1e-9}, {}, "data.validation_fraction"),
            ({"sequence_length": 256, "validation_tokens": 256}, {"unique_tokens": [2**16]}, "grid.unique_tokens"),
        ],
    )
    def test_names_the_field(
        self, tiny_study: StudyConfig, tmp_path: Path, data: dict[str, object], grid: dict[str, object], field: str
    ) -> None:
        with pytest.raises(DataError) as caught:
            prepare(changed(tiny_study, data=data, grid=grid), tmp_path / "d")
        assert caught.value.field == field
        assert not (tmp_path / "d" / "manifest.json").exists()

    def test_empty_corpus(self, tiny_study: StudyConfig, tmp_path: Path) -> None:
        (tmp_path / "void.txt").write_text("\n\n")
        with pytest.raises(DataError, match="holds no text"):
            prepare(changed(tiny_study, data={"source": f"text:{tmp_path}/void.txt"}), tmp_path / "d")

    def test_one_document(self, tiny_study: StudyConfig, tmp_path: Path) -> None:
        (tmp_path / "one.txt").write_text("only one document " * 500)
        with pytest.raises(DataError, match="1 distinct documents"):
            prepare(changed(tiny_study, data={"source": f"text:{tmp_path}/one.txt"}), tmp_path / "d")

    def test_too_few_documents_for_the_cloze_task(self, tiny_study: StudyConfig, tmp_path: Path) -> None:
        write_corpus(tmp_path / "few", 4)
        study = changed(
            tiny_study,
            data={"source": f"text:{tmp_path}/few/*.txt", "validation_fraction": 0.5},
            grid={"unique_tokens": [512]},
        )
        with pytest.raises(DataError) as caught:
            prepare_tasks(study, prepare(study, tmp_path / "d"), tmp_path / "cloze")
        assert caught.value.field in ("evaluation.tasks", "data.validation_fraction")

    def test_undecodable_file_is_refused_or_skipped(
        self, tiny_study: StudyConfig, corpus: Path, tmp_path: Path
    ) -> None:
        (corpus / "zzz.txt").write_bytes(b"caf\xe9")
        with pytest.raises(DataError, match=r"zzz\.txt is not UTF-8 \(byte 3\)"):
            prepare(tiny_study, tmp_path / "d")
        skipped = prepare(changed(tiny_study, data={"bad_documents": "skip"}), tmp_path / "d")
        assert skipped.manifest.undecodable_dropped == 1

    @pytest.mark.parametrize(
        ("content", "fields", "place"),
        [
            (b'{"text": "a"}\n{"text": "caf\xe9"}\n{"text": "b"}\n', {"source": "jsonl:"}, ":2"),
            (b"a\n--caf\xe9--b", {"source": "text:", "separator": "--"}, "#2"),
        ],
    )
    def test_the_document_that_is_not_utf8_is_skipped_and_no_other(
        self, tmp_path: Path, content: bytes, fields: dict[str, str], place: str
    ) -> None:
        """The case of jingyaogong/minimind#551: one bad line; those after it were lost, those before it were not."""
        (tmp_path / "all").write_bytes(content)
        fields = fields | {"source": f"{fields['source']}{tmp_path}/all"}
        counts = SourceCounts()
        texts = documents(DataConfig.model_validate(fields | {"bad_documents": "skip"}), counts)
        assert [text for _, text, _ in texts] == ["a", "b"]
        assert (counts.files, counts.undecodable) == (1, 1)
        with pytest.raises(DataError, match=f"all{place} is not UTF-8") as caught:
            list(documents(DataConfig.model_validate(fields), SourceCounts()))
        assert caught.value.code == "data.undecodable"

    @pytest.mark.parametrize("line", ["{", "[]", '{"other": "x"}', '{"text": 3}'])
    def test_bad_json_line(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "x.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
        with pytest.raises(DataError, match=r"x\.jsonl:2 "):
            list(documents(DataConfig(source=f"jsonl:{tmp_path}/x.jsonl"), SourceCounts()))

    def test_torn_compressed_file(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt.gz").write_bytes(gzip.compress(b"text " * 1000)[:-20])
        with pytest.raises(DataError, match="cannot be read"):
            list(documents(DataConfig(source=f"text:{tmp_path}/x.txt.gz"), SourceCounts()))

    def test_output_is_a_file(self, tiny_study: StudyConfig, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("")
        with pytest.raises(WorkspaceError):
            prepare(tiny_study, tmp_path / "taken")
