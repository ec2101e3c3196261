"""Reference levels of a study: chance from the options of the items, unigram entropy and gzip of the held-out bytes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from crossover.data.dataset import Dataset
from crossover.evaluation.evaluation_records import ItemScores
from crossover.stages.study_report import _references
from crossover.study.load_study import parse_study
from crossover.tokenization.tokenizer import BYTES


def items(task: str, margins: tuple[float, ...], option_nll: tuple[tuple[float, ...], ...]) -> ItemScores:
    ids = tuple(map(str, range(len(option_nll))))
    return ItemScores(
        task=task, ids=ids, clusters=ids, correct=(1.0,) * len(ids), margins=margins, option_nll=option_nll
    )


def test_levels_stand_beside_their_metrics() -> None:
    study = parse_study("analysis: {metrics: [validation_bpb, validation_nll]}")
    rows = np.tile(np.arange(4, dtype=np.uint16), (8, 16))
    choices = items("quiz", (0.1, 0.2), ((1.0, 2.0), (1.0, 2.0, 3.0, 4.0)))
    written = items("write", (), ((), ()))
    runs = cast("Any", [(None, [SimpleNamespace(items=(choices, written))])])
    dataset = cast(Dataset, SimpleNamespace(validation=lambda: rows, tokenizer=BYTES))
    unigram, gzipped, chance = _references(study, dataset, runs)
    assert (unigram.name, unigram.metrics) == ("unigram", ("validation_bpb",))
    assert unigram.level == pytest.approx(2.0)
    assert gzipped.name == "gzip" and gzipped.level is not None and 0 < gzipped.level < 2
    assert (chance.name, chance.metrics) == ("chance", ("quiz_accuracy", "quiz_accuracy_norm"))
    assert chance.level == pytest.approx((1 / 2 + 1 / 4) / 2)
