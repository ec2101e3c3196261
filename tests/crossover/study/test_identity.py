"""A run's key and its parts are one to one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.errors import StudyError
from crossover.study.identity import RunId

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)


@given(cell=NAMES, arm=NAMES, seed=st.integers(0, 2**63))
def test_a_key_names_its_run(cell: str, arm: str, seed: int) -> None:
    assert RunId.parse(RunId(cell, arm, seed).key) == RunId(cell, arm, seed)


def test_a_key() -> None:
    assert RunId("u10000-nano", "ar", 0).key == "u10000-nano/ar/seed-0"


@pytest.mark.parametrize(
    "key",
    ["", "c/ar", "c/ar/seed-", "c/ar/seed--1", "c/ar/seed-01", "c/ar/seed-1\n", "c//seed-1", "a/c/ar/seed-1", "c/ar/1"],
)
def test_another_text_is_refused(key: str) -> None:
    with pytest.raises(StudyError, match="seed-<number>") as caught:
        RunId.parse(key)
    assert caught.value.code == "study.bad-run"
