"""A pack of documents becomes the items of a task: chosen, checked, and written as an artifact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crossover.data.dataset_digests import corpus_digest
from crossover.data.task_items import TASKS_VERSION, TaskItems, write_pack_items
from crossover.data.task_packs import Document, Pack, evenly, read_pack
from crossover.decoding.generation_request import Generation
from crossover.errors import DataError
from crossover.evaluation.encoded_pair import encode_pair
from crossover.evaluation.sandbox import require_sandbox
from crossover.evaluation.tasks import FORMATS, Request, Task
from crossover.files import digest_of
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import Tokenizer
from crossover.tokenization.tokenizer_file import bpe_rows, tokenizer_identity


def items_digest(pack: Pack, study: StudyConfig) -> str:
    """Digest of a request for a pack's items: the pack, and which of its documents are taken."""
    return digest_of(
        {
            "version": TASKS_VERSION,
            "pack": pack.model_dump(mode="json"),
            "tokenizer": _tokenizer(study),
            "sequence_length": study.data.sequence_length,
            "items": study.evaluation.task_items,
        }
    )


def _tokenizer(study: StudyConfig) -> str:
    """What decides which items fit; a tokenizer that is trained is decided by the corpus."""
    name = study.data.tokenizer
    return tokenizer_identity(name) if bpe_rows(name) is None else f"{name} of {corpus_digest(study.data)}"


def cloze_digest(corpus: str, content: str, study: StudyConfig) -> str:
    """Digest of a request for domain cloze items.

    Args:
        corpus: digest of how the corpus is read and cut.
        content: digest of its documents.
        study: how many items it takes.
    """
    return digest_of(
        {
            "version": TASKS_VERSION,
            "corpus": corpus,
            "content": content,
            "items": study.evaluation.cloze_items,
        }
    )


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


def prepare_pack(pack: Pack, study: StudyConfig, packs: Path, folder: Path, tokenizer: Tokenizer) -> TaskItems:
    """Write the chosen documents of a pack.

    Args:
        pack: the pack.
        study: its sequence length, and how many items it takes.
        packs: the folder of packs.
        folder: of the artifact.
        tokenizer: of the dataset.

    Raises:
        DataError: a missing, altered or malformed pack, or one of which no item fits into the model.
        StudyError: the task runs programs, and there is no sandbox here.
    """
    task = task_of(pack)
    if task.executes:
        require_sandbox()
    length = study.data.sequence_length
    fitting: list[tuple[int, Document]] = []
    left_out = 0
    for number, document in enumerate(_checked(pack, task, packs)):
        if all(_least_tokens(request, tokenizer) <= length for request in task.requests(document, pack, tokenizer)):
            fitting.append((number, document))
        else:
            left_out += 1
    if not fitting:
        raise DataError(
            "tasks.nothing-fits",
            field="data.sequence_length",
            problem=f"no item of {pack.name} fits into {length} tokens" if left_out else f"{pack.name} has no items",
            remedy=f"raise it, or drop {pack.name} from evaluation.tasks",
        )
    return write_pack_items(folder, pack, evenly(fitting, study.evaluation.task_items), left_out)


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


def _least_tokens(request: Request, tokenizer: Tokenizer) -> int:
    """Tokens that the model must hold whatever the context."""
    if isinstance(request, Generation):
        return request.max_tokens + 1
    return len(encode_pair(request.context, request.continuation, tokenizer.encode)[1])
