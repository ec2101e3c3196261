"""N-grams of held-out documents and of tasks' items in training documents: counted, listed, removed."""

import json
from pathlib import Path

import numpy as np
import pytest

from crossover.data import contamination
from crossover.data.contamination import COMMON, ContaminationCheck, Targets
from crossover.data.deduplication.shingles import Hashes, ngram_hashes, unit_hashes
from crossover.data.overlap_counts import HELD_OUT, NearCounts, OverlapCounts, overlap_lines, overlap_warnings
from crossover.data.task_packs import Pack, item_texts
from crossover.files import digest_of_file
from crossover.study.near_config import ContaminationConfig

DRAW = np.random.default_rng(11)


def text(words: int) -> str:
    return " ".join(f"w{number}" for number in DRAW.integers(0, 10**6, words))


def ngrams_of(document: str) -> Hashes:
    return ngram_hashes(*unit_hashes([document], "words"), 13)[0]


def check(
    training: list[str], held_out: list[str], mode: str = "count", **tasks: list[str]
) -> tuple[list[bool], dict[str, OverlapCounts]]:
    config = ContaminationConfig.model_validate({"mode": mode, "tasks": tuple(tasks)})
    named = {name: [(f"{name}:{n}", item) for n, item in enumerate(items)] for name, items in tasks.items()}
    looked_for = ContaminationCheck(config, [(f"held-{n}", item) for n, item in enumerate(held_out)], named)
    dropped = looked_for.dropped([(f"train-{n}", document) for n, document in enumerate(training)])
    return dropped, {counts.target: counts for counts in looked_for.counts()}


def test_every_shared_ngram_is_counted_and_no_other() -> None:
    held_out = [text(100), text(60)]
    words = held_out[0].split()
    training = [text(500), text(50) + " " + " ".join(words[10:40]) + " " + text(50)]
    _, counts = check(training, held_out)
    shared = set(ngrams_of(held_out[0]).tolist()) & set(ngrams_of(training[1]).tolist())
    overlap = counts[HELD_OUT]
    assert overlap.ngrams_in_training == len(shared) == 30 - 13 + 1
    assert overlap.ngrams == (100 - 12) + (60 - 12)
    assert overlap.contaminated == overlap.texts_in_training == overlap.dropped == 0


@pytest.mark.parametrize(("mode", "dropped"), [("count", [False] * 3), ("drop", [False, True, True])])
def test_documents_that_hold_half_of_a_text_or_are_half_of_one_are_contaminated(mode: str, dropped: list[bool]) -> None:
    held_out = text(400)
    words = held_out.split()
    training = [
        text(300) + " " + " ".join(words[:100]),
        text(3000) + " " + " ".join(words[100:320]),
        " ".join(words[50:80]) + " " + text(10),
    ]
    found, counts = check(training, [held_out], mode)
    assert found == dropped
    overlap = counts[HELD_OUT]
    assert overlap.contaminated == 2
    assert overlap.examples == (("train-1", "held-0"), ("train-2", "held-0"))
    assert overlap.dropped == sum(dropped)
    assert overlap.ngrams_in_training == (88 if mode == "drop" else 100 - 12 + 220 - 12)
    assert overlap.texts_in_training == (0 if mode == "drop" else 1)


def test_what_many_texts_share_says_nothing_of_one() -> None:
    licence = text(40)
    held_out = [f"{licence} {text(30)}" for _ in range(COMMON + 1)]
    _, counts = check([f"{licence} {text(20)}"], held_out)
    assert counts[HELD_OUT].common_ngrams == 40 - 12
    assert counts[HELD_OUT].ngrams_in_training == 0
    _, counts = check([f"{licence} {text(20)}"], held_out[:COMMON])
    assert counts[HELD_OUT].ngrams_in_training == 40 - 12


def test_a_text_of_common_ngrams_alone_is_said_to_be_unchecked() -> None:
    licence = text(40)
    items = [licence, text(5), *(f"{licence} {text(30)}" for _ in range(COMMON))]
    _, counts = check([licence, text(50)], [text(50)], quiz=items)
    quiz = counts["quiz"]
    assert (quiz.texts, quiz.short_texts, quiz.unchecked_texts, quiz.texts_in_training) == (12, 1, 1, 0)
    [line] = overlap_lines(NearCounts(), (quiz,), 0)
    assert "1 shorter, 1 with too few n-grams to compare, not checked, 28 common n-grams left out" in line
    [warning] = overlap_warnings(NearCounts(), (quiz,))
    assert warning.startswith("1 of 12 quiz have too few n-grams to compare") and "is not known" in warning
    _, counts = check([licence], [text(50)], quiz=items[:COMMON])
    assert counts["quiz"].unchecked_texts == 0 and counts["quiz"].texts_in_training > 0
    assert "unchecked_texts" in quiz.model_dump() and "unchecked_texts" not in counts["quiz"].model_dump()  # digests


def test_texts_with_too_few_ngrams_in_the_sample_are_unchecked_not_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contamination, "MOST_NGRAMS", 200)
    _, counts = check([text(50)], [text(400), *(text(14) for _ in range(100))])
    held_out = counts[HELD_OUT]
    assert (held_out.sampled, held_out.short_texts, held_out.unchecked_texts) == (4, 0, 100)


def test_a_task_of_sentences_shorter_than_an_ngram_is_no_clean_one() -> None:
    sentences = [text(6) for _ in range(20)]
    _, counts = check([" ".join(sentences)], [text(50)], quiz=sentences)
    [warning] = overlap_warnings(NearCounts(), tuple(counts.values()))
    assert "None of the 20 quiz is as long as an n-gram of 13 words" in warning


def test_items_of_tasks_are_counted_and_removed_for_the_tasks_that_are_named() -> None:
    items, others = [text(30), text(8)], [text(30)]
    training = [f"{text(400)} {items[0]} {text(400)}", f"{text(400)} {others[0]} {text(400)}"]
    dropped, counts = check(training, [text(50)], "drop", quiz=items)
    assert dropped == [True, False]
    assert (counts["quiz"].texts, counts["quiz"].short_texts, counts["quiz"].dropped) == (2, 1, 1)
    config = ContaminationConfig(mode="drop", tasks=("quiz",))
    looked_for = ContaminationCheck(config, [], {"other": [("other:0", others[0])]})
    assert looked_for.dropped([("train-1", training[1])]) == [False]
    [_, other] = looked_for.counts()
    assert (other.contaminated, other.dropped, other.texts_in_training) == (1, 0, 1)
    [warning] = overlap_warnings(NearCounts(), (other,))
    assert "data.contamination.tasks" in warning


def test_a_text_in_pieces_of_several_documents_is_told_with_what_removes_it() -> None:
    words = text(400).split()
    training = [f"{text(900)} {' '.join(words[start : start + 100])}" for start in range(0, 400, 100)]
    _, counts = check(training, [" ".join(words)], "drop")
    overlap = counts[HELD_OUT]
    assert (overlap.texts_in_training, overlap.contaminated, overlap.dropped) == (1, 0, 0)
    [warning] = overlap_warnings(NearCounts(), (overlap,))
    assert "lower data.contamination.overlap" in warning


def test_nothing_is_read_when_it_is_off() -> None:
    def unread() -> list[tuple[str, str]]:
        raise AssertionError

    looked_for = ContaminationCheck(ContaminationConfig(mode="off"), iter(unread, None), {})  # type: ignore[arg-type]  # never asked for its items
    assert looked_for.dropped([("train", text(50))]) == [False]
    assert looked_for.counts() == ()


def test_no_targets_are_no_overlap() -> None:
    targets = Targets(HELD_OUT, [], 13, 0.5)
    assert [len(part) for part in targets.find(ngrams_of(text(100)))] == [0, 0]
    assert targets.counts().texts == 0


def test_all_texts_of_an_item_are_looked_for(tmp_path: Path) -> None:
    document = {"query": "What is", "choices": ["a", "b"], "gold": 1, "more": {"hint": "c"}}
    (tmp_path / "p.jsonl").write_text(json.dumps(document) + "\n")
    digest = digest_of_file(tmp_path / "p.jsonl").removeprefix("sha256:")
    pack = Pack(name="p", format="multiple-choice", licence="none", file="p.jsonl", sha256=digest)
    assert list(item_texts(pack, tmp_path)) == [("p:1", "What is\na\nb\nc")]


@pytest.mark.parametrize("sampled", [8, 64])
def test_a_sample_of_the_ngrams_leaves_clean_documents(monkeypatch: pytest.MonkeyPatch, sampled: int) -> None:
    """Each training document quotes twenty words of one of the held-out ones."""
    held_out = [text(400) for _ in range(200)]
    training = [f"{text(200)} {' '.join(source.split()[100:120])} {text(200)}" for source in held_out]
    short = [f"{' '.join(source.split()[100:114])} {text(40)}" for source in held_out]
    assert not any(check([*training, *short], held_out, "drop")[0])
    monkeypatch.setattr(contamination, "MOST_NGRAMS", 200 * 388 // sampled + 500)
    dropped, counts = check([*training, *short, *held_out], held_out, "drop")
    found = counts[HELD_OUT]
    assert found.sampled == sampled
    assert not any(dropped[:400])
    assert sum(dropped[400:]) >= 200 - found.unchecked_texts > 100
    assert found.texts_in_training == 0
