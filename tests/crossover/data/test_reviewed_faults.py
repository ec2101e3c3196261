"""Faults of preparation that a review found, each as it was seen."""

import json
from pathlib import Path

import numpy as np
import pytest

from crossover.data import contamination
from crossover.data.corpus_survey import source_of
from crossover.data.overlap_counts import OverlapCounts
from crossover.data.prepare_dataset import prepare_cloze
from crossover.data.quality_tiers import ByteTrigrams
from crossover.data.sources import matching_files
from crossover.data.split_corpus import read_corpus
from crossover.errors import DataError
from crossover.study.near_config import ContaminationConfig
from crossover.study.study_config import StudyConfig
from tests.crossover.data.test_prepare import changed, prepare

WORDS = [f"word{n}" for n in range(400)]


def texts(count: int, words: int = 60) -> list[str]:
    draw = np.random.default_rng(0)
    return [" ".join(draw.choice(WORDS, words)) for _ in range(count)]


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """Texts of which every third has a near-copy."""
    rows = [text + end for n, text in enumerate(texts(300)) for end in (["", " the end"] if n % 3 == 0 else [""])]
    path = tmp_path / "alike.jsonl"
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("near", ["split", "drop"])
def test_all_tiers_are_measured_on_the_same_text(
    tiny_study: StudyConfig, alike: Path, tmp_path: Path, near: str
) -> None:
    held_out = set()
    for tier in ("high", "medium", "low"):
        data: dict[str, object] = {
            "source": f"jsonl:{alike}",
            "quality": {"scorer": "perplexity", "tier": tier},
            "deduplication": {"near": near, "similarity": 0.7, "bands": 40},
            "validation_tokens": 100_000,
        }
        study = changed(tiny_study, data=data, grid={"unique_tokens": [640]}, evaluation={"tasks": []})
        dataset = prepare(study, tmp_path / tier)
        held_out.add(dataset.manifest.files["validation.bin"])
        assert dataset.manifest.cleaning.tiers[tier].documents == dataset.manifest.train_documents
    assert len(held_out) == 1


def test_items_of_the_cloze_task_have_the_ids_of_the_dataset(
    tiny_study: StudyConfig, alike: Path, tmp_path: Path
) -> None:
    data: dict[str, object] = {
        "source": f"jsonl:{alike}",
        "tokenizer": "bpe:270",
        "sequence_length": 16,
        "validation_tokens": 256,
    }
    study = changed(tiny_study, data=data, grid={"unique_tokens": [640]})
    dataset = prepare(study, tmp_path / "d")
    other = changed(study, data={"tokenizer": "bpe:271"})
    with read_corpus(other.data, tmp_path / "scratch") as corpus, pytest.raises(DataError, match="another tokenizer"):
        prepare_cloze(study, dataset, corpus, tmp_path / "items")


def test_a_sample_of_the_ngrams_finds_what_all_of_them_find(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = texts(200, 200)
    held_out, training = rows[:100], [*rows[100:], *rows[:10]]

    def counts() -> OverlapCounts:
        config = ContaminationConfig(mode="drop")
        check = contamination.ContaminationCheck(config, [(str(n), text) for n, text in enumerate(held_out)], {})
        assert sum(check.dropped([(str(n), text) for n, text in enumerate(training)])) == 10
        assert check.counts()[0].short_texts == 0
        return check.counts()[0]

    every = counts()
    monkeypatch.setattr(contamination, "MOST_NGRAMS", 5_000)
    some = counts()
    assert (every.sampled, some.sampled) == (1, 4)
    assert some.ngrams == pytest.approx(every.ngrams / 4, rel=0.1)


def test_frequent_bytes_are_counted_beyond_32_bits() -> None:
    model = ByteTrigrams()
    model.add("a b")
    model.bits_per_byte("a b")
    model._counts[1][ord(" ")] = 2**32 - 1
    model.add("   ")
    model.bits_per_byte("   ")
    assert model._counts[1][ord(" ")] == 2**32 + 2


def test_a_folder_with_brackets_in_its_name_is_itself(tmp_path: Path) -> None:
    for name in ("data[1]", "data1"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.txt").write_text("text\n" * 50)
    (tmp_path / "data[1]" / "notes.md").write_text("no text of the corpus")
    found = matching_files(source_of(str(tmp_path / "data[1]")).source.partition(":")[2])
    assert [Path(file.name).parent.name for file in found] == ["data[1]"] * 3
    (tmp_path / "data[1]" / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "data[1]" / "b.jsonl").write_text('{"text": "b"}\n')
    assert [Path(f.name).name for f in matching_files(str(tmp_path / "data[1]"), (".jsonl",))] == ["a.jsonl", "b.jsonl"]


def test_what_was_left_out_is_said_where_nothing_is_left(tiny_study: StudyConfig, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    (tmp_path / "b.txt").write_text("short too")
    data: dict[str, object] = {"source": f"text:{tmp_path}/*.txt", "cleaning": {"minimum_characters": 100}}
    study = changed(tiny_study, data=data)
    with pytest.raises(DataError, match=r"left out: 2 length"):
        prepare(study, tmp_path / "d")


def test_nothing_is_left_in_the_scratch_folder(tiny_study: StudyConfig, tmp_path: Path) -> None:
    with read_corpus(tiny_study.data, tmp_path / "scratch") as corpus:
        assert len(corpus.train.tokens())
        assert not list((tmp_path / "scratch").iterdir())
