"""Documents of Hugging Face datasets: `DATASET[@REVISION][/CONFIG][:SPLIT]`, or a folder that `datasets` can load.

Rows are streamed. In offline mode (HF_HUB_OFFLINE) a dataset of the hub comes from the cache of `datasets`
instead, which cannot stream; a folder is streamed in any mode.
"""

from __future__ import annotations

import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from crossover.data.optional_modules import optional_module
from crossover.data.sources.source_counts import PartCounts, SourceCounts
from crossover.data.sources.text_documents import Piece, document_of
from crossover.errors import DataError, first_line
from crossover.study.data_config import DataConfig

if TYPE_CHECKING:
    from datasets.arrow_dataset import Dataset
    from datasets.iterable_dataset import IterableDataset


class HubName(NamedTuple):
    """What a source names."""

    dataset: str
    config: str | None
    revision: str | None
    split: str


def hub_name(place: str) -> HubName:
    """The parts of a name, without looking at the hub.

    `name` and `org/name` are datasets, a third part is the configuration; the split is `train` unless it is said.
    """
    place = place.removeprefix("//")
    path, _, split = (place, "", "") if os.path.isdir(place) else place.partition(":")
    split = split or "train"
    folder = os.path.expanduser(path)
    if os.path.isdir(folder):
        return HubName(folder, None, None, split)
    path, _, revision = path.partition("@")
    revision, _, after = revision.partition("/")
    parts = path.split("/")
    config = after or "/".join(parts[2:])
    return HubName("/".join(parts[:2]), config or None, revision or None, split)


class HubReader:
    """Reads rows of one dataset."""

    def listing(self, place: str) -> None:
        """None: a stream tells neither its files nor its size."""

    def pieces(
        self, config: DataConfig, counts: SourceCounts, part: PartCounts, files: object = None
    ) -> Iterator[tuple[str, str, Piece]]:
        """The name, the place and the document of each row.

        Raises:
            DataError: the dataset cannot be loaded, or breaks off.
        """
        place = config.source.partition(":")[2]
        rows = hub_rows(place)
        counts.files += 1
        licence = getattr(rows.info, "license", "")
        if licence:
            part.licences.append(f"{place}: {licence}")
        with _faults(place):
            for number, row in enumerate(rows, start=1):
                name = f"{config.source}:{number}"
                yield name, name, document_of(row, config)


def hub_rows(place: str) -> Dataset | IterableDataset:
    """The rows of the dataset that a place names, as `datasets` gives them.

    Raises:
        DataError: it cannot be loaded.
    """
    name = hub_name(place)
    datasets = optional_module("datasets")
    folder = os.path.isdir(name.dataset)
    streams = folder or not datasets.config.HF_HUB_OFFLINE
    with _faults(place):
        rows: Dataset | IterableDataset = datasets.load_dataset(
            name.dataset, name.config, split=name.split, revision=name.revision, streaming=streams
        )
        return rows


@contextmanager
def _faults(place: str) -> Iterator[None]:
    """Faults of the hub, of the network, and of the dataset's files, after which `datasets` cannot go on."""
    datasets = optional_module("datasets")
    try:
        yield
    except StopIteration as error:  # what `datasets` does of files without a row
        raise _unreadable(place, "it has no row") from error
    except (
        EOFError,
        zlib.error,
        lzma.LZMAError,
        ValueError,
        OverflowError,
        datasets.exceptions.DatasetsError,
        OSError,
    ) as error:
        reason = first_line(error)
        raise _unreadable(place, reason) from error


def _unreadable(place: str, reason: str) -> DataError:
    return DataError(
        "data.hub-unreadable",
        field="data.source",
        problem=f"{place!r} cannot be read through datasets ({reason})",
        remedy="check dataset, configuration, split and network (offline: the cache in HF_HOME), or read its files "
        "with jsonl: or parquet:, which can skip bad ones",
    )
