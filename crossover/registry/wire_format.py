"""The bodies of the registry's HTTP API, for the server and the client alike."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    field_validator,
)

from crossover.registry.process_identity import ProcessIdentity
from crossover.registry.registry_records import MetricDef, Point, SavedCheckpoint, ServingMeasurement

T = TypeVar("T")
DIGEST = r"^[A-Za-z0-9:._-]{1,200}$"
NAMESPACE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""As Kubernetes names namespaces."""
MOST_POINTS = 1_000
MOST_BYTES = 1_000_000
_STATES = {"nan": math.nan, "+inf": math.inf, "-inf": -math.inf}


def _storable(value: T) -> T:
    """PostgreSQL keeps no zero byte in a text, nor one that JSON writes as an escape."""
    if "\\u0000" in json.dumps(value):
        raise ValueError("must not hold a zero byte")
    return value


Text = Annotated[str, AfterValidator(_storable)]
Json = Annotated[dict[str, Any], AfterValidator(_storable)]
Digest = Annotated[str, Field(pattern=DIGEST, examples=["sha256:5f1c…"])]
Name = Annotated[Text, Field(min_length=1, max_length=250)]
Count = Annotated[int, Field(ge=0, le=10**15)]
"""Exact in JSON everywhere, where numbers may be floats."""
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _number(value: object) -> float:
    if isinstance(value, str):
        if value not in _STATES:
            raise ValueError("must be a number, or 'nan', '+inf' or '-inf'")
        return _STATES[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number, or 'nan', '+inf' or '-inf'")
    return float(value)


def number_json(value: float) -> float | str:
    """A number as JSON has it; NaN and infinities, which it has not, as texts."""
    return value if math.isfinite(value) else ("nan" if math.isnan(value) else f"{value:+}")


Value = Annotated[
    float,
    PlainValidator(_number),
    PlainSerializer(number_json),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(_STATES)}]}),
]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudyBody(_Body):
    """A revision of a study."""

    name: Name
    digest: Digest
    config: Json


class StudyNameBody(_Body):
    """A study with all its revisions, by name."""

    name: Name


class DatasetBody(_Body):
    """A prepared corpus of a study."""

    digest: Digest
    manifest: Json


class CheckpointBody(_Body):
    """Saved weights of a run at a step."""

    step: Count
    tokens: Count
    uri: Annotated[Text, Field(min_length=1, max_length=2_000)]
    digest: Digest

    def record(self) -> SavedCheckpoint:
        """As the registry takes it."""
        return SavedCheckpoint(self.step, self.tokens, self.uri, self.digest)


class RunBody(_Body):
    """A run of a study; with checkpoints it is done."""

    digest: Digest
    cell: Name
    arm: Annotated[Text, Field(min_length=1, max_length=100)]
    seed: Count
    config: Json
    epoch_tokens: Count | None = None
    checkpoints: tuple[CheckpointBody, ...] = ()


class ProcessBody(_Body):
    """The process that trains."""

    host: Name
    pid: Count
    holder: Name

    def record(self) -> ProcessIdentity:
        """As the registry takes it."""
        return ProcessIdentity(self.host, self.pid, self.holder)


class AttemptBody(_Body):
    """The start of an attempt."""

    started_step: Count
    process: ProcessBody
    gone: Annotated[Text, Field(max_length=250)] = ""
    """A holder that is known to have ended; its lease does not count."""


class EndBody(_Body):
    """The end of an attempt."""

    reason: Literal["done", "failed", "interrupted"]


class MetricBody(_Body):
    """A metric and its estimator."""

    name: Name
    unit: Annotated[Text, Field(max_length=50)]
    direction: Literal["lower", "higher", "none"]
    estimator: Literal["exact", "upper bound", "chain rule", "none"]
    draws: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    def record(self) -> MetricDef:
        """As the registry takes it."""
        return MetricDef(self.name, self.unit, self.direction, self.estimator, self.draws)


class PointBody(_Body):
    """One value at an optimizer step."""

    step: Count
    tokens: Count
    flops: Amount
    seconds: Amount
    value: Value
    stderr: Amount | None = None

    def record(self) -> Point:
        """As the registry takes it."""
        return Point(self.step, self.tokens, self.flops, self.seconds, self.value, self.stderr)


class SeriesBody(_Body):
    """Points of one metric, at distinct steps that rise."""

    metric: MetricBody
    points: Annotated[tuple[PointBody, ...], Field(min_length=1, max_length=MOST_POINTS)]
    again: bool = False
    """Whether the steps were trained or measured again, after a roll-back: else they are beyond those of before."""


class PointsBody(_Body):
    """A batch of points."""

    series: Annotated[tuple[SeriesBody, ...], Field(min_length=1, max_length=MOST_POINTS)]


class ItemsBody(_Body):
    """Per-item scores of a task at a step."""

    step: Count
    task: Annotated[Text, Field(min_length=1, max_length=100)]
    items: dict[str, Any]


class _Open(BaseModel):
    """Part of an analysis: the fields that become columns; the others are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")


class CrossingPart(_Open):
    """Where the curves cross."""

    direction: Annotated[Text, Field(max_length=20)] | None = None
    at: float | None = None
    low: float | None = None
    high: float | None = None


class WindowPart(_Open):
    """The mean difference inside a window."""

    mean: float
    interval: tuple[float, float]


class VerdictPart(_Open):
    """One verdict."""

    metric: Name
    axis: Annotated[Text, Field(max_length=20)]
    comparison: Annotated[Text, Field(max_length=20)]
    baseline: Annotated[Text, Field(max_length=100)]
    candidate: Annotated[Text, Field(max_length=100)]
    outcome: Annotated[Text, Field(max_length=40)]
    pairs: Annotated[int, Field(ge=0, le=10**6)]
    p_adjusted: float | None
    reason: Annotated[Text, Field(max_length=20_000)]
    crossing: CrossingPart | None
    early: WindowPart | None = None
    late: WindowPart | None = None
    further_pairs: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class AnalysisPart(_Open):
    """The JSON of `crossover.analysis.analysis_result.Analysis`, of this version or a neighbouring one."""

    method: Annotated[Text, Field(max_length=100)]
    verdicts: Annotated[tuple[VerdictPart, ...], Field(max_length=10_000)]


class AnalysisBody(_Body):
    """An analysis of a cell."""

    cell: Name
    analysis: AnalysisPart

    @field_validator("analysis", mode="before")
    @classmethod
    def _without_zero_bytes(cls, value: object) -> object:
        return _storable(value)


class DeploymentBody(_Body):
    """A promotion."""

    run_digest: Digest
    step: Count
    uri: Annotated[Text, Field(min_length=1, max_length=2_000)]
    digest: Digest
    analysis_digest: Digest
    reason: Annotated[Text, Field(max_length=2_000)]
    endpoint: Annotated[Text, Field(min_length=1, max_length=250)] | None = None
    revision: Count | None = None
    traffic: Annotated[int, Field(ge=0, le=100)] | None = None


class ServingBody(_Body):
    """What it costs to serve a checkpoint, and how good its answers are."""

    step: Count
    checkpoint_digest: Digest
    decoding: dict[str, Any]
    device: Name
    concurrency: Annotated[int, Field(ge=1, le=10**6)]
    requests: Annotated[int, Field(ge=1, le=2**63 - 1)]
    tokens_per_second: Amount
    first_token_p50: Amount | None = None
    first_token_p99: Amount | None = None
    quality_metric: Name | None = None
    quality: Annotated[float, Field(allow_inf_nan=False)] | None = None
    quality_stderr: Amount | None = None

    def record(self) -> ServingMeasurement:
        """As the registry takes it."""
        return ServingMeasurement(**dict(self))


class ServedPart(_Open):
    """A checkpoint as it was served."""

    arm: Annotated[Text, Field(min_length=1, max_length=100)]
    checkpoint_digest: Annotated[str, Field(pattern=DIGEST, max_length=80)]
    setting: dict[str, Any]


class ServingCrossingPart(_Open):
    """From how many concurrent requests on one is faster."""

    outcome: Annotated[Text, Field(min_length=1, max_length=40)]
    at: Amount | None = None
    low: Amount | None = None
    high: Amount | None = None


class ServingComparisonPart(_Open):
    """The JSON of `crossover.analysis.serving_crossing.ServingComparison`, of this version or a neighbouring one."""

    device: Name
    agreement: Annotated[float, Field(ge=0, le=1)]
    baseline: ServedPart
    candidate: ServedPart
    crossing: ServingCrossingPart


class ServingCrossoverBody(_Body):
    """Where one family overtakes the other in serving."""

    comparison: ServingComparisonPart

    @field_validator("comparison", mode="before")
    @classmethod
    def _without_zero_bytes(cls, value: object) -> object:
        return _storable(value)


class SqlBody(_Body):
    """One SELECT."""

    sql: Annotated[Text, Field(min_length=1, max_length=20_000)]
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1_000


class TokenBody(_Body):
    """A token to be made."""

    name: Name
    scopes: Annotated[frozenset[Literal["read", "write", "promote", "sql", "admin"]], Field(min_length=1)]
    namespaces: Annotated[frozenset[Annotated[str, Field(pattern=NAMESPACE)]] | None, Field()] = None
    """None is all of them."""
    days: Annotated[int, Field(ge=1, le=3_650)] | None = None


class Problem(BaseModel):
    """An error, as RFC 9457 has it, with the code of docs/errors.md, the field and the remedy."""

    type: str = Field(examples=["urn:crossover:error:registry.unknown-run"])
    title: str
    status: int
    detail: str
    code: str
    field: str
    remedy: str
