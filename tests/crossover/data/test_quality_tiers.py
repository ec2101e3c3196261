"""Tiers: gibberish ends in the low one, all are of equal size, and held-out documents are in none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.data.cleaning.cleaning_counts import TierCounts
from crossover.data.document_spool import Document
from crossover.data.quality_tiers import TIERS, ByteTrigrams, select_tier, tiers_of
from crossover.settings import get_settings
from crossover.study.quality_config import QualityConfig
from tests.crossover.data.cleaning.planted import gibberish, prose


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("CROSSOVER_SCRATCH", str(tmp_path))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def tier(documents: list[Document], name: str) -> tuple[list[Document], dict[str, TierCounts]]:
    counts: dict[str, TierCounts] = {}
    config = QualityConfig.model_validate({"scorer": "perplexity", "tier": name})
    return list(select_tier(documents, config, lambda one: one.name.startswith("held"), counts)), counts


DOCUMENTS = [
    *(Document(f"prose {seed}", prose(seed)) for seed in range(20)),
    *(Document(f"gibberish {seed}", gibberish(seed)) for seed in range(10)),
    *(Document(f"held {seed}", gibberish(100 + seed)) for seed in range(3)),
]


def test_gibberish_is_low_and_the_held_out_side_stays_whole() -> None:
    for name in TIERS:
        kept, _ = tier(DOCUMENTS, name)
        assert [one.name for one in kept if one.name.startswith("held")] == ["held 0", "held 1", "held 2"]
        assert all(one.attributes == {} for one in kept if one.name.startswith("held"))
        kinds = {one.name.split()[0] for one in kept} - {"held"}
        assert kinds == ({"prose"} if name == "high" else {"gibberish"} if name == "low" else kinds)


def test_the_tiers_are_a_partition_of_equal_size() -> None:
    everything, counts = tier(DOCUMENTS, "all")
    assert [one.text for one in everything] == [one.text for one in DOCUMENTS]
    total = sum(counts[name].bytes for name in TIERS)
    assert total == sum(len(one.text) for one in DOCUMENTS[:30])
    assert all(abs(counts[name].bytes - total / 3) < 1000 for name in TIERS)
    assert counts["high"].highest <= counts["medium"].lowest
    assert counts["medium"].highest <= counts["low"].lowest
    named = {one.name: one.attributes["tier"] for one in everything[:30]}
    assert named == {one.name: name for name in TIERS for one in tier(DOCUMENTS, name)[0] if "held" not in one.name}


def test_the_order_of_documents_decides_no_tier() -> None:
    forwards = {one.name for one in tier(DOCUMENTS, "medium")[0]}
    assert {one.name for one in tier(DOCUMENTS[::-1], "medium")[0]} == forwards


def test_a_place_does_not_predict_itself() -> None:
    model = ByteTrigrams()
    model.add("qzx")
    assert model.bits_per_byte("qzx") > 8  # nothing but the uniform share is left
    assert ByteTrigrams().bits_per_byte("ab") == 8.0


def test_a_trigram_is_scored_by_its_counts() -> None:
    model = ByteTrigrams()
    model.add("aaaa")  # and a newline: trigrams aaa, aaa, aa\n
    expected = 0.6 * 1 / 2 + 0.25 * 2 / 3 + 0.1 * 3 / 4 + 0.05 / 256
    assert model.bits_per_byte("aaaa") == pytest.approx(-np.log2(expected), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=40), seed=st.integers(0, 9))
def test_tiers_follow_the_scores(sizes: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 5, len(sizes)).astype(float)
    tiers = tiers_of(scores, np.asarray(sizes))
    for better, worse in ((0, 1), (1, 2), (0, 2)):
        if (tiers == better).any() and (tiers == worse).any():
            assert scores[tiers == better].max() <= scores[tiers == worse].min()
    filled = [int(np.asarray(sizes)[tiers == index].sum()) for index in range(3)]
    assert all(abs(size - sum(sizes) / 3) <= max(sizes) for size in filled)


def test_no_documents_are_no_tiers() -> None:
    assert tier([], "high") == ([], {})
