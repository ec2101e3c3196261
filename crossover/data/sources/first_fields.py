"""The fields of a source's first document, for a program that proposes which of them holds the text."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from crossover.data.sources.column_documents import first_row
from crossover.data.sources.hub_datasets import hub_rows
from crossover.data.sources.packed_files import unpacked
from crossover.data.sources.source_files import matching_files
from crossover.study.data_config import DataConfig


def first_fields(config: DataConfig) -> dict[str, Any]:
    """All fields of the first document; empty where it is not an object with fields.

    Args:
        config: a source of JSON lines, Parquet or Arrow files, or a dataset of the hub.

    Raises:
        DataError: there is no file, or the hub's dataset cannot be loaded.
        OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, RecursionError: the first document cannot be read.
    """
    scheme, _, place = config.source.partition(":")
    if scheme == "hf":
        return dict(next(iter(hub_rows(place)), {}))
    file = matching_files(place)[0]
    with file.open() as stored, closing(unpacked(file.name, stored)) as content:
        if scheme != "jsonl":
            return first_row(content, scheme)
        while (line := content.readline(config.longest_document)) and not line.strip():
            pass
    fields = json.loads(line.decode("utf-8-sig"))
    return fields if isinstance(fields, dict) else {}
