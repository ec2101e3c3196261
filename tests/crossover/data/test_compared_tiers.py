"""Tiers as an axis of the grid: nested budgets of each tier's documents alone, one held-out text and tokenizer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crossover.data.dataset import Budget, Dataset
from crossover.data.prepare_dataset import check_budget
from crossover.data.quality_tiers import TIERS, most_tokens_of_tier, tiers_of
from crossover.data.split_corpus import read_corpus
from crossover.errors import DataError
from crossover.report.data_card import card_markdown, data_card
from crossover.stages.corpus_record import read_corpus_record, record_corpus
from crossover.storage import open_store
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import EOS
from tests.crossover.data.test_prepare import changed, prepare

LENGTH = 32
NUMBER = re.compile(rb"doc([0-9]{3})")


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """Documents of equal length that say their number all over, with a grade in a column that falls with it."""
    path = tmp_path / "graded.jsonl"
    rows = [{"text": f"doc{number:03d} " * 13, "meta": {"score": 100 - number / 2}} for number in range(180)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def study_of(
    tiny_study: StudyConfig, source: Path, tiers: list[str], data: dict[str, object] | None = None, **grid: object
) -> StudyConfig:
    quality = {"scorer": "column", "column": "meta.score"}
    fields = {"source": f"jsonl:{source}", "sequence_length": LENGTH, "validation_tokens": 256, "quality": quality}
    grid = {"unique_tokens": [320, 640], "models": ["pico"], "quality": tiers} | grid
    return changed(tiny_study, data=fields | (data or {}), grid=grid, evaluation={"tasks": []})


def numbers(rows_NL: NDArray[np.unsignedinteger]) -> set[int]:
    """Which documents examples are made of."""
    texts = (np.where(row_L == EOS, ord(" "), row_L).astype(np.uint8).tobytes() for row_L in rows_NL)
    return {int(number) for text in texts for number in NUMBER.findall(text)}


def of_tiers(study: StudyConfig, scratch: Path) -> dict[str, set[int]]:
    """The documents of each tier, as the corpus is split."""
    with read_corpus(study.data, scratch) as corpus:
        names = [int(name.rpartition(":")[2]) - 1 for name in corpus.train.names]
        return {tier: {n for n, own in zip(names, corpus.train.tiers, strict=True) if own == tier} for tier in TIERS}


@pytest.mark.parametrize("packing", ["document", "stream"])
@pytest.mark.parametrize("resample", [False, True])
def test_a_cell_is_trained_on_documents_of_its_tier_alone(
    tiny_study: StudyConfig, graded: Path, tmp_path: Path, packing: str, *, resample: bool
) -> None:
    tiers = ["low", "medium", "high"]
    study = study_of(tiny_study, graded, tiers, {"packing": packing, "resample": resample})
    dataset = Dataset.open(prepare(study, tmp_path / "dataset").folder)
    expected = of_tiers(study, tmp_path / "scratch")
    assert max(expected["high"]) < min(expected["medium"]) <= max(expected["medium"]) < min(expected["low"])
    for tier in tiers:
        for seed in (0, 1):
            largest = np.asarray(dataset.train(640, seed, tier))
            assert largest.shape == (640 // LENGTH, LENGTH)
            assert numbers(largest) and numbers(largest) <= expected[tier]
            np.testing.assert_array_equal(dataset.train(320, seed, tier), largest[: 320 // LENGTH])
    same = np.array_equal(dataset.train(640, 0, "low"), dataset.train(640, 1, "low"))
    assert same is not resample
    held_out = numbers(dataset.validation())
    assert all(not held_out & own for own in expected.values())


@pytest.mark.parametrize("resample", [False, True])
def test_a_tier_of_the_grid_has_the_examples_of_a_study_of_that_tier(
    tiny_study: StudyConfig, graded: Path, tmp_path: Path, *, resample: bool
) -> None:
    data: dict[str, object] = {"resample": resample}
    together = prepare(study_of(tiny_study, graded, ["low", "high", "all"], data), tmp_path / "together").manifest
    for tier in ("low", "high", "all"):
        quality = {"scorer": "column", "column": "meta.score", "tier": tier}
        alone = prepare(study_of(tiny_study, graded, [], data | {"quality": quality}), tmp_path / tier).manifest
        for tokens in (320, 640):
            assert together.budget(tokens, tier).digest == alone.budget(tokens).digest
        assert together.files["validation.bin"] == alone.files["validation.bin"]
        rows = next(rows for rows in together.tiers if rows.quality == tier)
        assert (rows.available_tokens, rows.documents) == (alone.available_tokens, alone.train_documents)
        assert rows.tail_tokens_dropped == alone.tail_tokens_dropped


def test_low_numbers_may_be_good(tiny_study: StudyConfig, graded: Path, tmp_path: Path) -> None:
    quality = {"scorer": "column", "column": "meta.score", "order": "lower"}
    found = of_tiers(study_of(tiny_study, graded, ["low", "high"], {"quality": quality}), tmp_path / "scratch")
    assert min(found["high"]) > max(found["medium"]) > max(found["low"])


def test_the_tokenizer_is_trained_on_all_tiers(tiny_study: StudyConfig, graded: Path, tmp_path: Path) -> None:
    digests = set()
    for tiers in (["low"], ["high"], []):
        study = study_of(tiny_study, graded, tiers, {"tokenizer": "bpe:300"}, unique_tokens=[320])
        digests.add(prepare(study, tmp_path / "-".join(["dataset", *tiers])).manifest.tokens.digest)
    assert len(digests) == 1


def test_a_budget_above_a_tier_names_the_tier_and_what_it_holds(
    tiny_study: StudyConfig, graded: Path, tmp_path: Path
) -> None:
    held = prepare(study_of(tiny_study, graded, ["medium"]), tmp_path / "fits").manifest.tiers[0].available_tokens
    prepare(study_of(tiny_study, graded, ["medium"], unique_tokens=[held]), tmp_path / "most")
    study = study_of(tiny_study, graded, ["medium", "all"], unique_tokens=[held + LENGTH])
    with pytest.raises(DataError, match=f"the tier medium holds {held:,}.*leave medium out of grid.quality") as raised:
        prepare(study, tmp_path / "more")
    assert (raised.value.code, raised.value.field) == ("data.budget-too-large", "grid.unique_tokens")


@pytest.mark.parametrize("where", ["grid", "data"])
def test_a_plan_refuses_budgets_that_no_tier_can_hold(
    tiny_study: StudyConfig, graded: Path, tmp_path: Path, where: str
) -> None:
    def of(tokens: int) -> StudyConfig:
        if where == "grid":
            return study_of(tiny_study, graded, ["medium", "all"], unique_tokens=[tokens])
        quality = {"scorer": "column", "column": "meta.score", "tier": "medium"}
        return study_of(tiny_study, graded, [], {"quality": quality}, unique_tokens=[tokens])

    manifest = prepare(of(320), tmp_path / "d").manifest
    held = manifest.tiers[0].available_tokens if where == "grid" else manifest.available_tokens
    check_budget(of(held))
    most = held + 2 * 105  # a document more, and its share of the end
    for more in (most, 2 * held):
        with pytest.raises(DataError, match=r"at most \(a tier is a third of the text\)") as raised:
            check_budget(of(more // LENGTH * LENGTH + LENGTH))
        assert raised.value.field == "grid.unique_tokens"
        assert ("leave medium out" in raised.value.remedy) == (where == "grid")


def test_no_tier_holds_more_than_is_said() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        sizes = draw.integers(1, 10 ** draw.integers(1, 5), draw.integers(1, 40))
        tokens = 1 + (sizes * draw.uniform(0.2, 1, len(sizes))).astype(np.int64)
        tiers = tiers_of(draw.random(len(sizes)), sizes)
        assert max(np.bincount(tiers, weights=tokens)) <= most_tokens_of_tier(tokens.tolist(), sizes.tolist())
    alike = most_tokens_of_tier([101] * 300, [100] * 300)
    assert 101 * 100 <= alike <= 101 * 102


def test_equal_numbers_are_ranked_without_regard_to_their_order(
    tiny_study: StudyConfig, graded: Path, tmp_path: Path
) -> None:
    """A column of one grade: what stands first in the corpus is not better for it."""
    rows = [json.loads(line) | {"meta": {"score": 1}} for line in graded.read_text().splitlines()]
    highest = []
    for name, ordered in (("as-is", rows), ("reversed", rows[::-1])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ordered))
        found = of_tiers(study_of(tiny_study, path, ["low"]), tmp_path / "scratch")["high"]
        highest.append(found if name == "as-is" else {len(rows) - 1 - number for number in found})
    assert highest[0] == highest[1]
    assert abs(np.mean(list(highest[0])) - len(rows) / 2) < len(rows) / 8  # not the first third


def test_other_scores_of_the_same_texts_are_another_content(
    tiny_study: StudyConfig, graded: Path, tmp_path: Path
) -> None:
    study, contents = study_of(tiny_study, graded, ["low"]), []
    for score in ("50.0", "50.25"):
        graded.write_text(graded.read_text().replace('"score": 50.0', f'"score": {score}'))
        with read_corpus(study.data, tmp_path / "scratch") as corpus:
            contents.append(corpus.content)
    assert contents[0] != contents[1]


def test_what_is_known_of_a_corpus_is_known_by_tier(tiny_study: StudyConfig, graded: Path, tmp_path: Path) -> None:
    study, store = study_of(tiny_study, graded, ["low", "high"]), open_store(str(tmp_path / "work"))
    plain = study_of(tiny_study, graded, [])
    for number, one in enumerate((study, plain)):
        record_corpus(one, store, prepare(one, tmp_path / f"dataset-{number}").manifest)
    record = read_corpus_record(study, store)
    assert record is not None
    digests = [record.examples(cell) for cell in (*study.cells, *plain.cells)]
    assert all(digests) and len(set(digests)) == 6
    assert record.examples(study.cells[0].model_copy(update={"quality": "medium"})) == ""


def test_the_card_shows_tiers_and_their_budgets(tiny_study: StudyConfig, graded: Path, tmp_path: Path) -> None:
    study = study_of(tiny_study, graded, ["low", "high"])
    manifest = prepare(study, tmp_path / "dataset").manifest
    text = card_markdown(data_card(study, manifest))
    assert "Tiers that are compared" in text
    assert " to 100.00 of meta.score" in text
    for tier in manifest.tiers:
        assert f"| {tier.quality} | {tier.documents:,} | {tier.available_tokens:,} | 320, 640 |" in text
    assert "low 320, 640; high 320, 640" in text


def test_manifests_without_tiers_have_the_digest_that_they_had() -> None:
    assert Budget(unique_tokens=1, examples=1, tokens=1, digest="sha256:a").model_dump() == {
        "unique_tokens": 1,
        "examples": 1,
        "tokens": 1,
        "digest": "sha256:a",
    }
