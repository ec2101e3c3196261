"""Task packs: evaluation sets as files with digests and licences; `crossover.evaluation.tasks` knows their formats.

A pack is a YAML file that describes the documents and their location; `catalogue.yaml` has the well-known ones. The
documents are JSON lines in the folder of the setting `tasks`, or are loaded from the Hugging Face hub by `datasets`.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crossover.data.sources import unpacked
from crossover.errors import DataError, first_line
from crossover.field_faults import NAME_PATTERN, did_you_mean, field_faults, validate_fields
from crossover.files import digest_of_file
from crossover.yaml_text import parse_yaml

EVALUATED, CONTAMINATING = "evaluation.tasks", "data.contamination.tasks"
"""Fields of a study that name packs."""
Document = Mapping[str, Any]
Item = TypeVar("Item")


class Pack(BaseModel):
    """Location and format of a task's documents."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN)
    format: str = Field(description="Format of the documents; a key of `crossover.evaluation.tasks.FORMATS`.")
    licence: str = Field(min_length=1)
    source: str = Field(default="", description="Origin of the documents, as free text.")
    file: str = Field(default="", description="JSON lines (`.gz`, `.xz`, `.zst` too), relative to the tasks folder.")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 of the file.")
    hub: str = Field(default="", description="Name of a dataset on the Hugging Face hub, instead of a file.")
    subset: str = Field(default="", description="The hub dataset's configuration.")
    split: str = Field(default="test", description="The hub dataset's split.")
    revision: str = Field(default="", description="Commit of the hub dataset.")
    where: dict[str, str | int | tuple[int, int]] = Field(
        default_factory=dict,
        description="Keep documents whose field has this value, or a value in this range [from, to].",
    )
    template: str = Field(default="", description="Context from a document's fields, such as `{query}\\nAnswer:`.")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.file) == bool(self.hub):
            raise ValueError("give either file (with sha256) or hub (with revision)")
        if self.file and not self.sha256:
            raise ValueError("sha256 of the file is missing")
        if self.hub and not self.revision:
            raise ValueError("revision of the hub dataset is missing: without it the task could change unnoticed")
        return self


@lru_cache(maxsize=1)
def catalogue() -> dict[str, dict[str, Any]]:
    """The well-known packs, by name."""
    packs: dict[str, dict[str, Any]] = yaml.safe_load(
        resources.files("crossover.data").joinpath("catalogue.yaml").read_text("utf-8")
    )
    return packs


def find_pack(name: str, folder: Path, field: str = EVALUATED) -> Pack:
    """The pack of a name: `<name>.yaml` in the tasks folder, else the catalogue's.

    A file may have a pack of the catalogue as its `base` and replace some of its fields.

    Args:
        name: of the pack.
        folder: of packs.
        field: of the study that names it, for errors.

    Raises:
        DataError: no such pack, or an invalid field.
    """
    own = folder / f"{name}.yaml"
    try:
        if own.is_file():
            fields = parse_yaml(own.read_text("utf-8"))
            if not isinstance(fields, dict):
                raise ValueError("is not a mapping of fields")
            base = fields.pop("base", None)
            fields = (catalogue()[str(base)] if base else {}) | fields
        else:
            fields = dict(catalogue()[name])
        return validate_fields(Pack, {"name": name} | fields)
    except KeyError as error:
        raise DataError(
            "tasks.unknown",
            field=field,
            problem=f"unknown task {error.args[0]!r}{did_you_mean(str(error.args[0]), ('domain-cloze', *catalogue()))}",
            remedy=f"choose from domain-cloze, {', '.join(catalogue())}, or describe it in {own.name} in the folder "
            "of CROSSOVER_TASKS",
        ) from error
    except ValidationError as error:
        faults = field_faults(error, Pack, own.name, f"{own.name}: {{}}".format)
        raise _bad_pack(faults.field, faults.problem) from error
    except ValueError as error:
        raise _bad_pack(own.name, str(error)) from error


def _bad_pack(field: str, problem: str) -> DataError:
    return DataError("tasks.bad-pack", field=field, problem=problem, remedy="correct the description of the task")


def read_pack(pack: Pack, folder: Path, field: str = EVALUATED) -> Iterator[Document]:
    """The documents of a pack in their order, after its digest has been verified.

    Args:
        pack: the pack.
        folder: of packs.
        field: of the study that names it, for errors.

    Raises:
        DataError: the file is missing, altered or malformed, or the hub dataset cannot be loaded.
    """
    documents = _from_hub(pack, field) if pack.hub else _from_file(pack, folder, field)
    for document in documents:
        if all(_matches(document.get(field), accepted) for field, accepted in pack.where.items()):
            yield document


def item_texts(pack: Pack, folder: Path, field: str = EVALUATED) -> Iterator[tuple[str, str]]:
    """Number and text of each document of a pack: all texts of its fields, one a line. Arguments are `read_pack`'s.

    Raises:
        DataError: as `read_pack`.
    """
    for number, document in enumerate(read_pack(pack, folder, field), start=1):
        yield f"{pack.name}:{number}", "\n".join(_texts(document))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _matches(value: object, accepted: str | int | tuple[int, int]) -> bool:
    if isinstance(accepted, tuple):
        return isinstance(value, int) and accepted[0] <= value <= accepted[1]
    return value == accepted


def evenly(documents: Iterable[Item], count: int) -> list[Item]:
    """A subset evenly spaced over the order of the documents, so that every part of a sorted pack is represented.

    Args:
        documents: all documents.
        count: size of the subset; 0 takes all.
    """
    items = list(documents)
    if not count or count >= len(items):
        return items
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def _from_file(pack: Pack, folder: Path, field: str) -> Iterator[Document]:
    path = folder / pack.file
    if not path.is_file():
        raise DataError(
            "tasks.missing",
            field=f"{field}: {pack.name}",
            problem=f"{path} does not exist",
            remedy="put the file there, or set CROSSOVER_TASKS to its folder",
        )
    number = 0
    try:
        if digest_of_file(path) != f"sha256:{pack.sha256}":
            raise DataError(
                "tasks.wrong-digest",
                field=f"{field}: {pack.name}",
                problem=f"{path} does not have the SHA-256 {pack.sha256}",
                remedy="get the file again, or describe your own version of it with its digest",
            )
        with path.open("rb") as stored, closing(unpacked(path.name, stored)) as lines:
            for number, line in enumerate(lines, start=1):
                yield _document(pack, number, line, field)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        reason = first_line(error)
        raise _malformed(pack, f"cannot be read after line {number} ({reason})", field) from error


def _document(pack: Pack, number: int, line: bytes, field: str) -> Document:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _malformed(pack, f"line {number} is not a JSON object", field) from error
    if not isinstance(document, dict):
        raise _malformed(pack, f"line {number} is not a JSON object", field)
    if b"\\ud" in line.lower():
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _malformed(pack, f"line {number} has half of a character as \\ud8… or \\udc…", field) from error
    return document


def _malformed(pack: Pack, problem: str, field: str) -> DataError:
    return DataError(
        "tasks.malformed",
        field=f"{field}: {pack.name}",
        problem=f"{pack.file} {problem}",
        remedy="correct the file and its digest",
    )


def _from_hub(pack: Pack, field: str) -> Iterator[Document]:
    try:
        from datasets.load import load_dataset
    except ModuleNotFoundError as error:
        raise DataError(
            "tasks.no-datasets",
            field=f"{field}: {pack.name}",
            problem="is on the Hugging Face hub, and the package datasets is not installed",
            remedy="run: pip install 'crossover[eval]'",
        ) from error
    try:
        rows = load_dataset(pack.hub, pack.subset or None, split=pack.split, revision=pack.revision)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise DataError(
            "tasks.hub-unreachable",
            field=f"{field}: {pack.name}",
            problem=f"{pack.hub} cannot be loaded from the Hugging Face hub ({reason})",
            remedy="check the name, the revision and the network, or use a file",
        ) from error
    yield from rows
