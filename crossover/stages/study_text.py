"""A study as one text: a preset's name, YAML, JSON, a path, a workspace, or encoded so that nothing rewrites it."""

from __future__ import annotations

import base64
import json
import textwrap

from crossover.errors import StudyError
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import open_store
from crossover.study.load_study import load_study, parse_study
from crossover.study.study_config import StudyConfig

ENCODED = "base64:"


def resolve_study(text: str) -> StudyConfig:
    """A study from what a pipeline parameter may hold.

    That is JSON, YAML, a preset's name, a path, `base64:` and any of these texts encoded, or s3://bucket/prefix of a
    workspace, whose study it is. Blanks and empty lines around it, as they come with pasted text, change nothing.

    Raises:
        StudyError: none of these, or not a valid study.
        StorageError: the workspace cannot be read.
    """
    text = textwrap.dedent(text).strip()
    if text.startswith(ENCODED):
        try:
            text = base64.b64decode(text.removeprefix(ENCODED), validate=True).decode("utf-8")
        except ValueError as error:
            raise StudyError(
                "study.not-base64",
                field="STUDY",
                problem=f"what follows {ENCODED} is no base64 of UTF-8 text",
                remedy="encode the study's file with `base64 --wrap=0`, or let `crossover submit` do it",
            ) from error
    if text.startswith("s3://"):
        document = open_store(text).read_document(STUDY_FILE)
        if document is None:
            raise StudyError(
                "study.not-found",
                field="STUDY",
                problem=f"{text} holds no study",
                remedy="name the workspace of a study that has run, or give the study's text",
            )
        text = json.dumps(document.value["study"], ensure_ascii=False)
    return parse_study(text) if "\n" in text or text.startswith("{") or ": " in text else load_study(text)


def encoded_study(study: StudyConfig) -> str:
    """The study as a text that nothing on the way to a pod rewrites: Argo and Kubernetes expand `{{…}}` and `$(…)`."""
    return ENCODED + base64.b64encode(study.model_dump_json().encode()).decode()
