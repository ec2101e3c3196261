"""Sources of documents as a study names them: one, or a mixture with a share each."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from crossover.study.study_part import StudyPart

SOURCES = ("stdlib:", "text:", "jsonl:", "parquet:", "arrow:", "tree:", "hf:")
WITH_COLUMNS = ("jsonl:", "parquet:", "arrow:", "hf:")
"""Those whose documents are fields or columns."""
EXAMPLES = {"parquet:": "corpus/*.parquet", "arrow:": "corpus/*.arrow", "tree:": "src", "hf:": "org/name:train"}


def checked_source(source: str) -> str:
    """The source, if it starts with a known scheme and names something."""
    if not source.startswith(SOURCES):
        raise ValueError(f"unknown source {source!r}; start it with one of {', '.join(SOURCES)}")
    if source != "stdlib:" and source in SOURCES:
        raise ValueError(f"{source!r} names no file; write for example {source}{EXAMPLES.get(source, 'corpus/*.txt')}")
    return source


SourceUri = Annotated[str, AfterValidator(checked_source)]


class MixedSource(StudyPart):
    """One source of a mixture."""

    source: SourceUri = Field(description="As `data.source`.")
    share: float = Field(
        gt=0, allow_inf_nan=False, description="Its part of the text, in bytes, relative to the sum of all shares."
    )
    text_field: str = Field(default="", description="As `data.text_field`, which holds where this is empty.")
    separator: str = Field(default="", description="As `data.separator`, which holds where this is empty.")
