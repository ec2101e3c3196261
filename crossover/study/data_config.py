"""The section `data` of a study: the corpus and how it becomes tokens."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from crossover.study.cleaning_config import CleaningConfig
from crossover.study.deduplication_config import DeduplicationConfig
from crossover.study.near_config import ContaminationConfig
from crossover.study.quality_config import QualityConfig
from crossover.study.source_config import WITH_COLUMNS, MixedSource, SourceUri
from crossover.study.study_part import StudyPart
from crossover.tokenization.tokenizer_file import check_name

Packing = Literal["document", "stream"]


class DataConfig(StudyPart):
    """The corpus and how it becomes tokens."""

    source: SourceUri = Field(
        default="stdlib:",
        description="`stdlib:` is the running interpreter's standard library; `text:GLOB` one document a file; "
        "`jsonl:GLOB` one a line; `parquet:GLOB` and `arrow:GLOB` one a row; `tree:FOLDER` source code, one a file; "
        "`hf:DATASET[/CONFIG][:SPLIT]` through `datasets`. A glob may be a folder or start with `s3://`; `.gz`, `.xz` "
        "and `.zst` are read as they are.",
    )
    sources: tuple[MixedSource, ...] = Field(
        default=(),
        description="A mixture instead of `source`: `source`, `share`, and if need be `text_field` and `separator` "
        "of each.",
    )
    text_field: str = Field(
        default="text", description="The field or column that holds the document; `a.b` is b within a."
    )
    separator: str = Field(default="", description="Cut each text file into documents at this string.")
    bad_documents: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="What to do with a document or file that cannot be read as text (not UTF-8, malformed, no text, "
        "too long, torn); skipped ones are counted by kind, with the first places.",
    )
    longest_document: int = Field(
        default=64 * 2**20, ge=1024, le=2**31, description="Bytes; a longer document is a bad one."
    )
    tokenizer: Annotated[str, AfterValidator(check_name)] = Field(
        default="bytes",
        description="`bytes`; `bpe:8192` trains byte-level BPE of so many rows on the training side; `hf:NAME_OR_PATH` "
        "reads a lossless `tokenizer.json`. Rows include BOS, EOS and MASK.",
    )
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

    @model_validator(mode="before")
    @classmethod
    def _undecodable_is_bad_documents(cls, fields: object) -> object:
        """Studies of earlier versions, in files and registries, have `undecodable`."""
        if not isinstance(fields, dict) or "undecodable" not in fields:
            return fields
        if "bad_documents" in fields:
            raise ValueError("bad_documents: undecodable is what it was called before; leave undecodable out")
        rest = {name: value for name, value in fields.items() if name != "undecodable"}
        return {**rest, "bad_documents": fields["undecodable"]}

    @model_validator(mode="after")
    def _one_source_or_a_mixture(self) -> Self:
        if self.sources and self.source != "stdlib:":
            raise ValueError("source and sources: exclude each other; make source one of the sources")
        return self

    @model_validator(mode="after")
    def _a_scored_source_has_columns(self) -> Self:
        if self.quality.scorer == "column":
            for part in self.parts:
                if not part.source.startswith(WITH_COLUMNS):
                    field = "sources" if self.sources else "source"
                    raise ValueError(
                        f"quality.scorer and {field}: {part.source!r} has no columns; take scorer 'perplexity', or a "
                        f"source that starts with one of {', '.join(WITH_COLUMNS)}"
                    )
        return self

    @property
    def source_label(self) -> str:
        """The source, or those of the mixture, for people."""
        return " + ".join(part.source for part in self.sources) or self.source

    @property
    def parts(self) -> tuple[DataConfig, ...]:
        """The corpus as one configuration for each of its sources."""
        if not self.sources:
            return (self,)
        return tuple(
            self.model_copy(
                update={
                    "source": part.source,
                    "sources": (),
                    "text_field": part.text_field or self.text_field,
                    "separator": part.separator or self.separator,
                }
            )
            for part in self.sources
        )
