"""What a report is made of: the analysis of each cell, and the facts that let a reader trace it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from crossover.analysis.across.cross_cell_result import Overview
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.serving_crossing import ServingComparison
from crossover.report.data_card import DataCard


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fact(_Record):
    """One row of a table of facts."""

    label: str
    value: str


class Reference(Fact):
    """A value that needs no training, to read results by."""

    name: str = Field(default="", description="In one word, beside a metric: `chance`, `unigram`, `gzip`.")
    level: float | None = Field(default=None, description="The value, in the metrics' unit.")
    metrics: tuple[str, ...] = Field(default=(), description="Names of the metrics that it stands beside.")


class RunHealth(_Record):
    """How one run went while it trained; None was not recorded."""

    attempts: int = Field(description="1 is a run that was never interrupted.")
    tokens_per_second: float | None = Field(description="Median over the run.")
    mfu: float | None = Field(description="Median share of the device's peak FLOPs.")
    gradient_norm: float | None = Field(description="Median over the run.")
    largest_gradient_norm: float | None
    clipped_steps: float | None = Field(default=None, description="Share of the steps whose gradients were clipped.")
    loss_spikes: int = Field(description="Training losses far above their neighbours'.")
    not_finite: int = Field(description="Training losses that are no number.")


class RunRow(_Record):
    """One run behind the curves, with what is needed to find it again."""

    arm: str
    seed: int
    run_key: str = Field(description="The run's key in the registry.")
    steps: int
    tokens: int = Field(description="Training tokens seen.")
    flops: float
    seconds: float = Field(description="Wall time in training.")
    checkpoint_digest: str = Field(default="", description="SHA-256 of the checkpoint's manifest; empty if none.")
    health: RunHealth | None = None


class CorpusFacts(_Record):
    """The data that the runs were trained on."""

    source: str
    documents: int
    bytes: int
    train_tokens: int
    validation_tokens: int
    duplicates_dropped: int
    overlap: tuple[str, ...] = Field(default=(), description="Near-duplicates and contamination, in words.")
    digest: str
    card: DataCard | None = Field(default=None, description="None where only a few counts are known.")


class Sample(_Record):
    """A piece of text that a trained model continued. Untrusted: it is always escaped."""

    prompt: str
    completion: str


class CellReport(_Record):
    """One cell of the study: so many unique tokens, such a model."""

    cell: str = Field(description="The cell's name, e.g. `U1M-N10M`.")
    unique_tokens: int | None = Field(default=None, description="None is unknown, of curves that came from elsewhere.")
    model: str = Field(default="", description="The model in words, e.g. `small: 8 layers, width 384`.")
    parameters: int | None = None
    quality: str = Field(default="", description="The tier of quality; empty where tiers are not compared.")
    analysis: Analysis
    runs: tuple[RunRow, ...] = ()


class ReportContext(_Record):
    """All that a report says. Its JSON is report.json, from which every other form can be rendered again."""

    study: str = Field(description="The study's name.")
    study_digest: str = Field(description="Of curves without a study: that of the curves and the plan.")
    question: str
    cells: tuple[CellReport, ...] = Field(min_length=1)
    overview: Overview = Field(default=Overview(), description="What the cells and arms say together.")
    corpus: CorpusFacts | None = Field(default=None, description="None when only curves were given.")
    training: tuple[Fact, ...] = ()
    references: tuple[Reference, ...] = Field(
        default=(), description="Values that need no training, to read results by."
    )
    created_at: str = Field(description="When, as ISO 8601 with zone; given, so that rendering is deterministic.")
    version: str = Field(description="The version of Crossover.")
    notes: tuple[str, ...] = ()
    samples: dict[str, tuple[Sample, ...]] = Field(default_factory=dict, description="Arm name to its samples.")
    serving: ServingComparison | None = Field(default=None, description="None where it was not measured.")
    sql: str = Field(default="", description="A command to look further in the registry.")
    upper_bound_metrics: tuple[str, ...] | None = Field(
        default=None, exclude=True, description="Of reports of earlier versions; not read."
    )

    @property
    def measured_here(self) -> bool:
        """Whether Crossover trained and measured the runs; of curves from elsewhere it knows no estimators."""
        return self.corpus is not None
