"""The tables, one class each. The schema itself is made by the migrations; a test holds the two together."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from crossover.registry.column_types import ArrayOf, CompressedJson

_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
DEFAULT_NAMESPACE = "default"
Id = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All tables."""

    metadata = MetaData(naming_convention=_CONVENTION)


class StudyRow(Base):
    """One revision of a study: an edited study is another row."""

    __tablename__ = "study"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(250))
    digest: Mapped[str] = mapped_column(String(80))
    config: Mapped[dict[str, object]] = mapped_column(JSON)
    plan_digest: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    namespace: Mapped[str] = mapped_column(String(100), server_default=DEFAULT_NAMESPACE)
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    """When it was deleted; its rows stay until a purge."""
    __table_args__ = (UniqueConstraint("namespace", "digest"),)


class DatasetRow(Base):
    """A prepared corpus of a study."""

    __tablename__ = "dataset"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    digest: Mapped[str] = mapped_column(String(80))
    manifest: Mapped[dict[str, object]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    __table_args__ = (UniqueConstraint("study_id", "digest"),)


class RunRow(Base):
    """One training run, named by its digest."""

    __tablename__ = "run"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    digest: Mapped[str] = mapped_column(String(500))
    cell: Mapped[str] = mapped_column(String(250))
    arm: Mapped[str] = mapped_column(String(100))
    seed: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(20))
    config: Mapped[dict[str, object]] = mapped_column(JSON)
    epoch_tokens: Mapped[int | None] = mapped_column(BigInteger)
    """Tokens of one pass over the training examples of the run's budget; null when no dataset was recorded."""
    quality_tier: Mapped[str] = mapped_column(String(20), server_default="")
    """Of the run's cell, as its configuration names it; empty where the study compares none."""
    namespace: Mapped[str] = mapped_column(String(100), server_default=DEFAULT_NAMESPACE)
    __table_args__ = (UniqueConstraint("namespace", "digest"),)


class StudyRunRow(Base):
    """A run that a study uses; studies share the runs that they agree on."""

    __tablename__ = "study_run"
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)


class AttemptRow(Base):
    """One process that trained a run, from its start or resumption to its end."""

    __tablename__ = "attempt"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    n: Mapped[int] = mapped_column(Integer, primary_key=True)
    started_step: Mapped[int] = mapped_column(BigInteger)
    host: Mapped[str] = mapped_column(String(250))
    pid: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    end_reason: Mapped[str | None] = mapped_column(String(20))
    holder: Mapped[str | None] = mapped_column(String(250))
    """Names the process among all processes of all machines; null before revision 0006."""
    heartbeat_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class MetricRow(Base):
    """What a value is, and how it was estimated."""

    __tablename__ = "metric_def"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(250))
    unit: Mapped[str] = mapped_column(String(50))
    direction: Mapped[str] = mapped_column(String(10))
    estimator: Mapped[str] = mapped_column(String(20))
    draws: Mapped[int] = mapped_column(Integer)
    __table_args__ = (UniqueConstraint("name", "unit", "direction", "estimator", "draws"),)


class SeriesRow(Base):
    """One metric of one run: its id is what points carry."""

    __tablename__ = "series"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    metric_id: Mapped[int] = mapped_column(ForeignKey("metric_def.id"))
    __table_args__ = (UniqueConstraint("run_id", "metric_id"),)


class PointRow(Base):
    """One value. `state` is empty, or nan, +inf or -inf, and then `value` is null."""

    __tablename__ = "point"
    series_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    """Of a series; not checked by the database, which would take as long as the insertion itself."""
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt_n: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tokens: Mapped[int] = mapped_column(BigInteger)
    flops: Mapped[float] = mapped_column(Float(53))
    seconds: Mapped[float] = mapped_column(Float(53))
    value: Mapped[float | None] = mapped_column(Float(53))
    state: Mapped[str] = mapped_column(String(4))
    stderr: Mapped[float | None] = mapped_column(Float(53))
    __table_args__ = ({"sqlite_with_rowid": False},)


class PointChunkRow(Base):
    """Points of a closed run, up to 512 of one series and attempt; a series has either these or rows of `point`.

    Where steps have one distance, and tokens or FLOPs are in proportion to steps, a number stands for the array.
    """

    __tablename__ = "point_chunk"
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True)
    attempt_n: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    first_step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    current: Mapped[int] = mapped_column(SmallInteger)
    """1, or 0 for points that a later attempt superseded."""
    last_step: Mapped[int] = mapped_column(BigInteger)
    last_tokens: Mapped[int] = mapped_column(BigInteger)
    last_flops: Mapped[float] = mapped_column(Float(53))
    last_seconds: Mapped[float] = mapped_column(Float(53))
    step_stride: Mapped[int | None] = mapped_column(BigInteger)
    tokens_per_step: Mapped[int | None] = mapped_column(BigInteger)
    flops_per_step: Mapped[float | None] = mapped_column(Float(53))
    steps: Mapped[list[int] | None] = mapped_column(ArrayOf(BigInteger()))
    tokens: Mapped[list[int] | None] = mapped_column(ArrayOf(BigInteger()))
    flops: Mapped[list[float] | None] = mapped_column(ArrayOf(Float(53)))
    seconds: Mapped[list[float]] = mapped_column(ArrayOf(Float(53)))
    measured: Mapped[list[float | None]] = mapped_column(ArrayOf(Float(53)))
    """The values; null where `states` has a word."""
    states: Mapped[list[str] | None] = mapped_column(ArrayOf(Text()))
    stderrs: Mapped[list[float | None] | None] = mapped_column(ArrayOf(Float(53)))


class CheckpointRow(Base):
    """Saved weights of a run at a step."""

    __tablename__ = "checkpoint"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    tokens: Mapped[int] = mapped_column(BigInteger)
    uri: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class ItemScoresRow(Base):
    """Per-item scores of a task at a checkpoint, as JSON arrays, compressed."""

    __tablename__ = "item_scores"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    task: Mapped[str] = mapped_column(String(100), primary_key=True)
    items: Mapped[dict[str, object]] = mapped_column(CompressedJson)


class AnalysisRow(Base):
    """An analysis of a cell, append-only: the newest row is the one that counts."""

    __tablename__ = "analysis"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    cell: Mapped[str] = mapped_column(String(250))
    digest: Mapped[str] = mapped_column(String(80))
    method: Mapped[str] = mapped_column(String(100))
    result: Mapped[dict[str, object]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class VerdictRow(Base):
    """One verdict of an analysis."""

    __tablename__ = "verdict"
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analysis.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    metric: Mapped[str] = mapped_column(String(250))
    axis: Mapped[str] = mapped_column(String(20))
    comparison: Mapped[str] = mapped_column(String(20))
    baseline: Mapped[str] = mapped_column(String(100))
    candidate: Mapped[str] = mapped_column(String(100))
    outcome: Mapped[str] = mapped_column(String(40))
    pairs: Mapped[int] = mapped_column(Integer)
    p_adjusted: Mapped[float | None] = mapped_column(Float(53))
    direction: Mapped[str | None] = mapped_column(String(20))
    crossing_at: Mapped[float | None] = mapped_column(Float(53))
    crossing_low: Mapped[float | None] = mapped_column(Float(53))
    crossing_high: Mapped[float | None] = mapped_column(Float(53))
    reason: Mapped[str] = mapped_column(Text)
    early_difference: Mapped[float | None] = mapped_column(Float(53))
    """Candidate minus baseline in the early window, and its confidence interval."""
    early_low: Mapped[float | None] = mapped_column(Float(53))
    early_high: Mapped[float | None] = mapped_column(Float(53))
    late_difference: Mapped[float | None] = mapped_column(Float(53))
    late_low: Mapped[float | None] = mapped_column(Float(53))
    late_high: Mapped[float | None] = mapped_column(Float(53))
    further_pairs: Mapped[int | None] = mapped_column(Integer)


class DeploymentRow(Base):
    """A promotion, and the endpoint that it reached, if any; append-only."""

    __tablename__ = "deployment"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    step: Mapped[int] = mapped_column(BigInteger)
    uri: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(80))
    analysis_digest: Mapped[str] = mapped_column(String(80))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    endpoint: Mapped[str | None] = mapped_column(String(250))
    revision: Mapped[int | None] = mapped_column(BigInteger)
    traffic: Mapped[int | None] = mapped_column(Integer)


class ServingMeasurementRow(Base):
    """What serving a checkpoint costs, and how good its answers are; append-only."""

    __tablename__ = "serving_measurement"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    step: Mapped[int] = mapped_column(BigInteger)
    checkpoint_digest: Mapped[str] = mapped_column(String(80))
    decoding: Mapped[dict[str, object]] = mapped_column(JSON)
    """Settings of the decoder, as the predictor takes them."""
    device: Mapped[str] = mapped_column(String(250))
    concurrency: Mapped[int] = mapped_column(Integer)
    requests: Mapped[int] = mapped_column(BigInteger)
    tokens_per_second: Mapped[float] = mapped_column(Float(53))
    """Generated tokens of all clients together, without padding."""
    first_token_p50: Mapped[float | None] = mapped_column(Float(53))
    """Seconds until the first token or block of an answer."""
    first_token_p99: Mapped[float | None] = mapped_column(Float(53))
    quality_metric: Mapped[str | None] = mapped_column(String(250))
    quality: Mapped[float | None] = mapped_column(Float(53))
    quality_stderr: Mapped[float | None] = mapped_column(Float(53))
    measured_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class ServingCrossoverRow(Base):
    """From how many concurrent requests on one family serves more tokens a second; append-only."""

    __tablename__ = "serving_crossover"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    baseline: Mapped[str] = mapped_column(String(100))
    candidate: Mapped[str] = mapped_column(String(100))
    baseline_checkpoint: Mapped[str] = mapped_column(String(80))
    candidate_checkpoint: Mapped[str] = mapped_column(String(80))
    setting: Mapped[dict[str, object]] = mapped_column(JSON)
    """Of the candidate's decoder, as the predictor takes it."""
    device: Mapped[str] = mapped_column(String(250))
    outcome: Mapped[str] = mapped_column(String(40))
    crossing_at: Mapped[float | None] = mapped_column(Float(53))
    crossing_low: Mapped[float | None] = mapped_column(Float(53))
    crossing_high: Mapped[float | None] = mapped_column(Float(53))
    agreement: Mapped[float] = mapped_column(Float(53))
    """Share of the candidate's greedy tokens that exact decoding gives as well."""
    result: Mapped[dict[str, object]] = mapped_column(JSON)
    measured_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class IngestRequestRow(Base):
    """A write that was answered under a client's key: the same key and body get the same answer again."""

    __tablename__ = "ingest_request"
    namespace: Mapped[str] = mapped_column(String(100), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(80))
    answer: Mapped[dict[str, object]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class AccessTokenRow(Base):
    """A bearer token, as its SHA-256: what it may do, and in which namespaces."""

    __tablename__ = "access_token"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(250))
    hash: Mapped[str] = mapped_column(String(80), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    namespaces: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class EventRow(Base):
    """Who did what, append-only: tokens, promotions, deletions."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    actor: Mapped[str] = mapped_column(String(250))
    namespace: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(100))
    subject: Mapped[str] = mapped_column(String(500))


Index("ix_ingest_request_created_at", IngestRequestRow.created_at)
Index("ix_event_at", EventRow.at)
Index("ix_study_run_run_id", StudyRunRow.run_id)
Index("ix_analysis_study_id", AnalysisRow.study_id, AnalysisRow.cell)
Index("ix_deployment_study_id", DeploymentRow.study_id)
Index("ix_serving_crossover_study_id", ServingCrossoverRow.study_id)
Index("ix_serving_measurement_run_id", ServingMeasurementRow.run_id)
