"""A study's tasks become files of its dataset: chosen documents, checked, with the pack they are of.

Evaluation then reads the dataset only, wherever it runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from crossover.data.dataset import TaskFile
from crossover.data.task_packs import Document, Pack, evenly, find_pack, read_pack
from crossover.decoding.request import Generation
from crossover.errors import DataError
from crossover.evaluation.sandbox import require_sandbox
from crossover.evaluation.scoring import encode_pair
from crossover.evaluation.tasks import FORMATS, Request, Task
from crossover.files import write_text
from crossover.study.study_config import DOMAIN_CLOZE, StudyConfig


def prepare_tasks(study: StudyConfig, packs: Path, folder: Path) -> list[TaskFile]:
    """Write the chosen documents of every task that a study names, but the domain cloze.

    Args:
        study: names the tasks, and how many items of each.
        packs: the folder of packs.
        folder: of the dataset; files go to `tasks/<name>.jsonl` in it.

    Raises:
        DataError: an unknown, missing, altered or malformed pack, or one of which no item fits into the model.
        StudyError: a task runs programs, and there is no sandbox here.
    """
    return [_prepare(name, study, packs, folder) for name in study.evaluation.tasks if name != DOMAIN_CLOZE]


def task_of(pack: Pack) -> Task:
    """How a pack's documents are asked about.

    Raises:
        DataError: no such format.
    """
    if pack.format not in FORMATS:
        raise DataError(
            "tasks.unknown-format",
            field=f"{pack.name}.yaml: format",
            problem=f"unknown format {pack.format!r}",
            remedy=f"choose from {', '.join(FORMATS)}",
        )
    return FORMATS[pack.format]


def _prepare(name: str, study: StudyConfig, packs: Path, folder: Path) -> TaskFile:
    pack = find_pack(name, packs)
    task = task_of(pack)
    if task.executes:
        require_sandbox()
    length = study.data.sequence_length
    fitting, left_out = [], 0
    for number, document in enumerate(_checked(pack, task, packs)):
        if all(_room_taken(request) <= length for request in task.requests(document, pack)):
            fitting.append({"id": number, "document": dict(document)})
        else:
            left_out += 1
    if not fitting:
        raise DataError(
            "tasks.nothing-fits",
            field="data.sequence_length",
            problem=f"no item of {name} fits into {length} tokens" if left_out else f"{name} has no items",
            remedy=f"raise it, or drop {name} from evaluation.tasks",
        )
    chosen = evenly(fitting, study.evaluation.task_items)
    path = f"tasks/{name}.jsonl"
    write_text(folder / path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chosen))
    return TaskFile(name=name, path=path, pack=pack, items=len(chosen), left_out=left_out)


def _checked(pack: Pack, task: Task, packs: Path) -> Iterator[Document]:
    """The documents, each of the pack's format."""
    for number, document in enumerate(read_pack(pack, packs), start=1):
        try:
            task.identity(document, number)
            task.requests(document, pack)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            problem = f"has no field {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                "tasks.malformed",
                field=f"evaluation.tasks: {pack.name}",
                problem=f"document {number} is not of the format {pack.format}: {problem}",
                remedy="mend the document, or give the pack another format or template",
            ) from error
        yield document


def _room_taken(request: Request) -> int:
    """Tokens that the model must hold whatever the context."""
    if isinstance(request, Generation):
        return request.max_tokens + 1
    return len(encode_pair(request.context, request.continuation)[1])
