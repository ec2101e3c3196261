"""A dataset is the same to the byte however many shards its corpus is read in."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossover.data.shards.shard_plan import plan_shards
from crossover.data.sources import SourceCounts
from crossover.data.split_corpus import distinct_documents, read_corpus
from crossover.errors import DataError
from crossover.study.data_config import DataConfig
from tests.crossover.data.shards.planted_corpus import (
    FILES,
    configs,
    content_of,
    dataset_of,
    shards_of,
    study_of,
    write_corpus,
)

KINDS = ["cleaned", "dropped", "one side", "near off", "paragraphs", "mixture", "mixture of lines", "tree"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_shards_changes_no_byte(kind: str, tmp_path: Path) -> None:
    study = study_of(configs(tmp_path)[kind])
    alone = dataset_of(study, [], tmp_path / "alone")
    for of in (1, 2, 3, 7):
        merged = dataset_of(study, shards_of(study.data, of, tmp_path / f"{of}"), tmp_path / f"merged{of}")
        assert content_of(merged.folder) == content_of(alone.folder), of


def test_the_planted_documents_are_there_to_be_found(tmp_path: Path) -> None:
    found = configs(tmp_path)
    manifest = dataset_of(study_of(found["dropped"]), [], tmp_path / "dropped").manifest
    assert manifest.duplicates_dropped == 2 * (FILES - 1)
    assert manifest.near.dropped >= FILES - 2
    assert manifest.sources.skipped == {"malformed": FILES // 2, "no text": FILES // 2}
    [length] = [step for step in manifest.cleaning.steps if step.name == "length"]
    assert length.dropped == {"too short": FILES}
    mixture = dataset_of(study_of(found["mixture"]), [], tmp_path / "mixture").manifest
    assert [part.ended for part in mixture.sources.parts].count(True) == 1
    assert all(part.documents for part in mixture.sources.parts)


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_reads_what_a_stream_reads(kind: str, tmp_path: Path) -> None:
    """`distinct_documents`, which plans and surveys use, keeps nothing: its counts and documents are the measure."""
    study, counts = study_of(configs(tmp_path)[kind]), SourceCounts()
    streamed = [document.name for document in distinct_documents(study.data, counts)]
    shards = shards_of(study.data, 3, tmp_path / "3")
    data = study.data.model_copy(update={"quality": study.data.quality.model_copy(update={"scorer": "none"})})
    near = data.deduplication.model_copy(update={"near": "off"})
    data = data.model_copy(
        update={"deduplication": near, "contamination": data.contamination.model_copy(update={"mode": "off"})}
    )
    with read_corpus(data, tmp_path / "scratch", shards=shards) as corpus:
        assert sorted(corpus.train.names + corpus.validation.names) == sorted(streamed)
        merged = corpus.counts
    counts.cleaning.bytes_kept = merged.cleaning.bytes_kept
    for part in counts.parts:
        part.bytes_read = 0
    assert merged == counts


def test_shards_are_contiguous_and_balanced_by_bytes(tmp_path: Path) -> None:
    for number, size in enumerate([5000, 10, 10, 10, 5000, 10, 4000]):
        (tmp_path / f"{number}.txt").write_text("x" * size)
    data = DataConfig(source=f"text:{tmp_path}/*.txt")
    shards = plan_shards(data, 3)
    assert [[Path(file.name).stem for file in shard.files[0] or ()] for shard in shards] == [
        ["0"],
        ["1", "2", "3", "4"],
        ["5", "6"],
    ]
    assert [shard.number for shard in shards] == [1, 2, 3]
    assert sum(shard.bytes for shard in shards) == 14040
    assert [file.name[-5] for shard in plan_shards(data, 20) for file in shard.files[0] or ()] == list("0123456")


def test_the_name_of_a_shard_changes_with_what_decides_it(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    data = DataConfig(source=f"jsonl:{tmp_path}", bad_documents="skip")
    names = [shard.name for shard in plan_shards(data, 3)]
    later: dict[str, Any] = {"sequence_length": 128, "tokenizer": "bpe:512", "validation_fraction": 0.3}
    assert [shard.name for shard in plan_shards(data.model_copy(update=later), 3)] == names
    for change in ({"longest_document": 2048}, {"text_field": "body"}, {"cleaning": {"secrets": True}}):
        changed = DataConfig.model_validate({**data.model_dump(), **change})
        assert not set(names) & {shard.name for shard in plan_shards(changed, 3)}
    last = max(tmp_path.iterdir())
    last.write_text(last.read_text() + json.dumps({"text": "one more document of a few words"}) + "\n")
    renamed = [shard.name for shard in plan_shards(data, 3)]
    assert renamed[0] == names[0] and renamed[2] != names[2]


@pytest.mark.parametrize("of", [1, 2, 5])
def test_a_refused_document_is_the_first_that_one_process_meets(of: int, tmp_path: Path) -> None:
    study = study_of({"source": f"jsonl:{write_corpus(tmp_path / 'in')}"})
    with pytest.raises(DataError) as expected:
        list(distinct_documents(study.data, SourceCounts()))
    with pytest.raises(DataError) as found:
        dataset_of(study, shards_of(study.data, of, tmp_path / "shards", workers=min(of, 2)), tmp_path)
    assert str(found.value) == str(expected.value)
    assert "part-1.jsonl:3" in str(found.value)


@pytest.mark.parametrize("of", [1, 4])
def test_a_mixture_refuses_what_it_comes_to_and_no_more(of: int, tmp_path: Path) -> None:
    good, bad = write_corpus(tmp_path / "good", files=1), write_corpus(tmp_path / "bad", files=4)
    sources = [{"source": f"jsonl:{good}", "share": 0.5}, {"source": f"jsonl:{bad}", "share": 0.5}]
    within = study_of({"sources": sources})
    dataset_of(within, shards_of(within.data, of, tmp_path / "a"), tmp_path / "within")  # ends before file 1 of `bad`
    sources[0]["share"], sources[1]["share"] = 0.1, 0.9
    beyond = study_of({"sources": sources})
    with pytest.raises(DataError, match=r"part-1\.jsonl:3 is not JSON"):
        dataset_of(beyond, shards_of(beyond.data, of, tmp_path / "b"), tmp_path / "beyond")
