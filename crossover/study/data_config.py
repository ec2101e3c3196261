"""The section `data` of a study: the corpus and how it becomes tokens."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from crossover.study.cleaning_config import CleaningConfig
from crossover.study.deduplication_config import DeduplicationConfig
from crossover.study.near_config import ContaminationConfig
from crossover.study.quality_config import QualityConfig
from crossover.study.study_part import StudyPart

Packing = Literal["document", "stream"]

SOURCES = ("stdlib:", "text:", "jsonl:")


class DataConfig(StudyPart):
    """The corpus and how it becomes tokens."""

    source: str = Field(
        default="stdlib:",
        description="`stdlib:` is the running interpreter's standard library; `text:GLOB` one document a file; "
        "`jsonl:GLOB` one document a line. `.gz` and `.xz` are read as they are.",
    )
    text_field: str = Field(default="text", description="The field of a JSON line that holds the document.")
    separator: str = Field(default="", description="Cut each text file into documents at this string.")
    undecodable: Literal["refuse", "skip"] = Field(
        default="refuse", description="What to do with a document that is not UTF-8; skipped ones are counted."
    )
    tokenizer: Literal["bytes"] = Field(default="bytes", description="Byte level: 256 bytes, BOS, EOS and MASK.")
    sequence_length: int = Field(default=64, ge=8, le=8192, description="Tokens in one training example.")
    packing: Packing = Field(
        default="document",
        description="`document` cuts each document into examples and joins what is left of it with other documents; "
        "`stream` joins all documents and cuts.",
    )
    attention: Literal["document", "example"] = Field(
        default="document",
        description="What a token of an example attends to, in both families: its own document, or the example.",
    )
    resample: bool = Field(
        default=False, description="Each seed is trained on a sample of its own of the corpus, not on the same one."
    )
    validation_fraction: float = Field(default=0.1, gt=0, lt=0.9, description="Share of documents held out.")
    validation_tokens: int = Field(default=8192, ge=64, description="Held-out tokens that the loss is measured on.")
    cleaning: CleaningConfig = CleaningConfig()
    deduplication: DeduplicationConfig = DeduplicationConfig()
    contamination: ContaminationConfig = ContaminationConfig()
    quality: QualityConfig = QualityConfig()

    @field_validator("source")
    @classmethod
    def _scheme_is_known(cls, source: str) -> str:
        if not source.startswith(SOURCES):
            raise ValueError(f"unknown source {source!r}; start it with one of {', '.join(SOURCES)}")
        if source in ("text:", "jsonl:"):
            raise ValueError(f"{source!r} names no file; write for example {source}corpus/*.txt")
        return source
