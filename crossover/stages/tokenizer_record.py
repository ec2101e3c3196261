"""What a workspace's datasets were cut with, where `data.tokenizer` names a file or a name on the Hub.

`tokenizers/<digest of the name>.json` holds what names of artifacts and models take from the file, so that once a
dataset is prepared nothing reads the file or the Hub again, and a file that has changed since cuts no other dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crossover.errors import DataError
from crossover.files import digest_of
from crossover.storage import ANY, ArtifactStore
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import short
from crossover.tokenization.tokenizer_file import (
    TokenizerFacts,
    facts_of_file,
    know_tokenizer,
    known_tokenizer,
    tokenizer_identity,
    vocabulary_rows,
)


def recall_tokenizer(name: str, store: ArtifactStore) -> None:
    """Let a study's tokenizer be the one that its workspace was prepared with, if it was."""
    if name.startswith("hf:"):
        document = store.read_document(_place(name))
        know_tokenizer(name, TokenizerFacts(**document.value) if document else None)


@contextmanager
def recalled_tokenizer(name: str, store: ArtifactStore) -> Iterator[None]:
    """`recall_tokenizer` while the context is open: a process may have several workspaces open."""
    before = known_tokenizer(name)
    recall_tokenizer(name, store)
    try:
        yield
    finally:
        know_tokenizer(name, before)


def copy_tokenizer(name: str, source: ArtifactStore, target: ArtifactStore) -> None:
    """Give one workspace what another one was prepared with."""
    if document := source.read_document(_place(name)):
        target.write_document(_place(name), document.value, replaces=ANY)


def record_tokenizer(study: StudyConfig, store: ArtifactStore, revision: str) -> None:
    """Keep what the dataset that was just prepared or found was cut with."""
    name = study.data.tokenizer
    if name.startswith("hf:") and known_tokenizer(name) is None:
        facts = TokenizerFacts(tokenizer_identity(name), vocabulary_rows(name), revision)
        store.write_document(_place(name), facts._asdict(), replaces=ANY)
        know_tokenizer(name, facts)


def check_tokenizer(study: StudyConfig) -> None:
    """Refuse a file that is another one than when the workspace was prepared; one that is gone is not needed.

    Raises:
        DataError: it has changed.
    """
    known = known_tokenizer(study.data.tokenizer)
    if known is None:
        return
    try:
        found = facts_of_file(study.data.tokenizer)
    except DataError as error:
        if error.code != "data.no-tokenizer":
            raise
        return
    if found.identity != known.identity:
        commits = f" (commit {known.revision[:12]}, now {found.revision[:12]})" if known.revision else ""
        raise DataError(
            "data.tokenizer-changed",
            field="data.tokenizer",
            problem=f"{study.data.tokenizer} is another tokenizer than when this workspace was prepared{commits}",
            remedy="restore it, name the new one by another path, or give another place with --out",
        )


def _place(name: str) -> str:
    return f"tokenizers/{short(digest_of(name))}.json"
