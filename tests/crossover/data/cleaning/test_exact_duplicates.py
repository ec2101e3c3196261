"""Paragraphs and lines that stood before are dropped: all of them, nothing else, the first by position stays."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossover.data.cleaning import exact_duplicates
from crossover.data.cleaning.cleaning_counts import RepeatCounts
from crossover.data.cleaning.exact_duplicates import FirstOccurrences, drop_repeated_units
from crossover.data.cleaning.normalisation import normalise
from crossover.data.document_spool import Document
from crossover.data.sources import SourceCounts
from crossover.data.split_corpus import distinct_documents
from crossover.settings import get_settings
from crossover.study.data_config import DataConfig
from crossover.study.deduplication_config import DeduplicationConfig

LINES = st.lists(st.sampled_from(["", "ab", "abc", "abcd", "  abcd", "wxyz", "}", "long line of words"]), max_size=9)
CORPORA = st.lists(LINES.map(lambda lines: normalise("\n".join(lines))).filter(bool), max_size=6)


@pytest.fixture(autouse=True, scope="module")
def _scratch(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSOVER_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


def drop(texts: list[str], unit: str, shortest: int = 3) -> tuple[list[str], RepeatCounts]:
    counts = RepeatCounts()
    config = DeduplicationConfig.model_validate({"exact": unit, "minimum_characters": shortest})
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    return [document.text for document in drop_repeated_units(documents, config, counts)], counts


def units(texts: list[str], between: str) -> list[str]:
    found = (unit.strip() for text in texts for unit in text.split(between))
    return [unit for unit in found if len(unit) >= 3]


def test_a_line_that_stood_before_is_dropped_wherever_it_is() -> None:
    kept, counts = drop(["Cookie notice\nfirst body\n}", "second body\nCookie notice\n}", "Cookie notice"], "line")
    assert kept == ["Cookie notice\nfirst body\n}", "second body\n}"]
    assert counts == RepeatCounts(units=5, units_dropped=2, bytes_dropped=26, documents_emptied=1)


def test_paragraphs_are_compared_whole() -> None:
    kept, _ = drop(["one line\ntwo lines\n\nanother", "one line\n\n\none line\ntwo lines\n\nend"], "paragraph")
    assert kept == ["one line\ntwo lines\n\nanother", "one line\n\n\nend"]


@settings(max_examples=100, deadline=None)
@given(texts=CORPORA, unit=st.sampled_from(["line", "paragraph"]), part=st.sampled_from([1, 3, 1 << 22]))
def test_every_unit_stays_once_however_they_are_sorted(texts: list[str], unit: str, part: int) -> None:
    between = {"line": "\n", "paragraph": "\n\n"}[unit]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_duplicates, "PART_DIGESTS", part)
        kept, counts = drop(texts, unit)
    assert units(kept, between) == list(dict.fromkeys(units(texts, between)))
    assert counts.units - counts.units_dropped == len(set(units(texts, between)))
    assert drop(kept, unit)[0] == kept
    backwards, _ = drop(texts[::-1], unit)
    assert Counter(units(backwards, between)) == Counter(units(kept, between))


def test_of_equal_digests_the_first_position_stays(tmp_path: Path) -> None:
    firsts = FirstOccurrences(tmp_path)
    firsts.add(["a", "b", "a"])
    firsts.add(["c", "b", "d", "a"])
    np.testing.assert_array_equal(firsts.repeated(), [False, False, True, False, True, False, True])
    firsts.close()
    assert list(tmp_path.iterdir()) == []


def test_documents_that_become_equal_are_one(tmp_path: Path) -> None:
    texts = ["Shared heading line\nbody one is here", "Shared heading line\nbody two is here", "body two is here"]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    data = {"source": f"jsonl:{tmp_path}/*.jsonl", "deduplication": {"exact": "line", "minimum_characters": 10}}
    counts = SourceCounts()
    found = list(distinct_documents(DataConfig.model_validate(data), counts))
    assert [document.text for document in found] == ["Shared heading line\nbody one is here", "body two is here"]
    assert counts.cleaning.repeats.documents_emptied == 1
