"""MinHash near-duplicates: estimates, recall on planted copies, clusters that depend on nothing but the texts."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crossover.data.deduplication import near_clusters, shingles
from crossover.data.deduplication.minhash import EMPTY, signatures
from crossover.data.deduplication.near_clusters import first_of_cluster
from crossover.data.deduplication.near_duplicates import NearDuplicates
from crossover.data.deduplication.shingles import ngram_hashes, unit_hashes
from crossover.study.deduplication_config import DeduplicationConfig

WORDS = [f"word{i}" for i in range(5000)]


def clusters(texts: list[str], folder: Path, threads: int = 1, **fields: object) -> list[int]:
    with NearDuplicates(DeduplicationConfig.model_validate(fields), folder, threads) as near:
        for text in texts:
            near.add(hashlib.sha256(text.encode()).digest(), text)
        return [int(first) for first in near.first_of_cluster()]


def changed(words: list[str], similarity: float, draw: np.random.Generator) -> list[str]:
    """A copy whose 5-gram similarity is at least this, and less than one replaced word above it."""
    count = int((len(words) - 4) * (1 - similarity) / (1 + similarity) / 5)
    copy = list(words)
    for place in draw.choice(np.arange(5, len(words) - 5, 5), count, replace=False):
        copy[place] = f"new{draw.integers(10**9)}"
    return copy


def jaccard(one: str, other: str) -> float:
    a, b = ({tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (one.split(), other.split()))
    return len(a & b) / len(a | b)


def planted(pairs: int, similarity: float, seed: int = 3) -> list[str]:
    draw = np.random.default_rng(seed)
    texts = []
    for _ in range(pairs):
        words = draw.choice(WORDS, draw.integers(400, 900)).tolist()
        texts += [" ".join(words), " ".join(changed(words, similarity, draw))]
    return texts


def test_recall_at_the_similarity_and_no_false_positives(tmp_path: Path) -> None:
    """The targets: at Jaccard 0.8 at least 95 % are found, and at most 0.5 % of documents without need are joined."""
    texts = planted(400, 0.8)
    similarities = [jaccard(*texts[i : i + 2]) for i in range(0, len(texts), 2)]
    assert 0.8 <= min(similarities) and np.mean(similarities) < 0.81
    first = clusters(texts, tmp_path)
    found = [one == other for one, other in zip(first[::2], first[1::2], strict=True)]
    assert np.mean(found) >= 0.95
    assert sum(representative // 2 != number // 2 for number, representative in enumerate(first)) == 0
    unlike = clusters(planted(400, 0.5), tmp_path)
    assert np.mean([number != representative for number, representative in enumerate(unlike)]) <= 0.005


def test_estimates_are_unbiased_and_as_narrow_as_the_theory_says() -> None:
    texts = planted(300, 0.8)
    errors = []
    for start in range(0, len(texts), 2):
        one, other = signatures(texts[start : start + 2], "words", 5, 120)
        errors.append((one == other).mean() - jaccard(*texts[start : start + 2]))
    deviation = (0.8 * 0.2 / 120) ** 0.5
    assert abs(np.mean(errors)) < 3 * deviation / len(errors) ** 0.5
    assert np.std(errors) < 1.15 * deviation


def test_clusters_do_not_depend_on_threads_batches_or_the_order_of_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = planted(60, 0.85) + planted(60, 0.75, seed=4)
    first = clusters(texts, tmp_path)
    assert any(representative != number for number, representative in enumerate(first))
    monkeypatch.setattr("crossover.data.deduplication.near_duplicates._BATCH", 3000)
    assert clusters(texts, tmp_path, threads=3) == first
    order = np.random.default_rng(1).permutation(len(texts)).tolist()
    shuffled = clusters([texts[number] for number in order], tmp_path)
    assert [order[shuffled[order.index(number)]] for number in range(len(texts))] == first


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_do_not_change_signatures(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one", "", "!?", *planted(3, 0.8), "two words"]
    whole = signatures(texts, "words", 5, 24)
    monkeypatch.setattr("crossover.data.deduplication.minhash._BLOCK", block)
    np.testing.assert_array_equal(signatures(texts, "words", 5, 24), whole)
    np.testing.assert_array_equal(np.concatenate([signatures([text], "words", 5, 24) for text in texts]), whole)
    assert (whole[1:3] == EMPTY).all() and not (whole[[0, 3, -1]] == EMPTY).any()


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6), st.integers(1, 6))
def test_ngrams_are_those_of_each_text_alone(texts: list[str], size: int) -> None:
    hashes, owners = ngram_hashes(*unit_hashes(texts, "characters"), size)
    alone = [ngram_hashes(*unit_hashes([text], "characters"), size)[0] for text in texts]
    np.testing.assert_array_equal(hashes, np.concatenate(alone))
    np.testing.assert_array_equal(owners, np.repeat(np.arange(len(texts)), [len(part) for part in alone]))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Call me Ishmael.", "call  me\nIshmael!", True),
        ("“Call me,” he said—and", "Call me he said and", True),
        ("naïve café", "naïve, café", True),
        ("call me", "callme", False),
        ("aa", "a", False),
        ("x_1 = 2", "x 1 = 2", False),
    ],
)
def test_words_are_without_case_and_punctuation(one: str, other: str, equal: bool) -> None:
    a, b = unit_hashes([one], "words")[0], unit_hashes([other], "words")[0]
    assert (a.tolist() == b.tolist()) is equal


def test_a_word_longer_than_a_block_is_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a " + "b" * 50 + " c d", "the same words without a long one"]
    whole = unit_hashes(texts, "words")
    monkeypatch.setattr(shingles, "_BLOCK", 64)
    shingles._tables.cache_clear()
    try:
        cut = unit_hashes(texts, "words")
    finally:
        shingles._tables.cache_clear()
    np.testing.assert_array_equal(cut[1], whole[1])
    np.testing.assert_array_equal(cut[0], whole[0])


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_languages_without_spaces_are_compared_by_characters(unit: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    one = "".join(chr(point) for point in draw.integers(0x4E00, 0x9FFF, 400))
    other = one[:200] + "中" + one[201:]
    first = clusters([one, other], tmp_path, unit=unit)
    assert first[0] == first[1]


def test_copies_of_one_text_are_one_cluster_however_many(tmp_path: Path) -> None:
    body = " ".join(np.random.default_rng(7).choice(WORDS, 300))
    first = clusters([f"{number} {body}" for number in range(500)] + ["another text altogether"], tmp_path)
    assert len(set(first[:-1])) == 1 and first[-1] == 500


def test_a_bucket_of_unlike_documents_is_compared_in_bounded_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashed = rng.integers(0, 2**32 - 1, size=(40, 20), dtype=np.uint32)
    hashed[:, :5] = 7  # one band in common, nothing else
    hashed[20:] = hashed[:20]
    keys = np.arange(40, dtype=np.uint64)
    expected = [*range(20), *range(20)]
    assert first_of_cluster(hashed, keys, 4, 15).tolist() == expected
    monkeypatch.setattr(near_clusters, "ROUNDS", 1)
    assert first_of_cluster(hashed, keys, 4, 15).tolist() == expected  # by the other bands


def test_no_documents_are_no_clusters(tmp_path: Path) -> None:
    assert clusters([], tmp_path) == []
    assert clusters(["", "??", "..."], tmp_path) == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [({"bands": 7}, "does not divide"), ({"bands": 4}, "bring together .* give more bands"), ({"near": "all"}, "near")],
)
def test_settings_that_cannot_find_near_duplicates_are_refused(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DeduplicationConfig.model_validate(fields)
