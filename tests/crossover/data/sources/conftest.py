"""The object store of the storage tests, and a way to read a source."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crossover.data.sources import SourceCounts, documents
from crossover.study.data_config import DataConfig
from tests.crossover.storage.conftest import endpoint

__all__ = ["endpoint"]
Read = Callable[..., tuple[list[str], SourceCounts]]


@pytest.fixture
def read() -> Read:
    """Texts of a source, and what was counted; keyword arguments are fields of `data`."""

    def texts(source: str = "stdlib:", **fields: object) -> tuple[list[str], SourceCounts]:
        counts = SourceCounts()
        config = DataConfig.model_validate({"source": source, **fields})
        return [text for _, text, _ in documents(config, counts)], counts

    return texts
