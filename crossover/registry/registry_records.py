"""The values that the registry takes and returns: metrics, points, rows of a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DIRECTIONS = ("lower", "higher", "none")
ESTIMATORS = ("exact", "upper bound", "chain rule", "none")


@dataclass(frozen=True)
class MetricDef:
    """A metric and its estimator: an exact value and a bound of it are different metrics."""

    name: str
    unit: str
    direction: str
    """`lower` or `higher` is better, or `none`."""
    estimator: str
    """`exact`, `upper bound`, `chain rule`, or `none`."""
    draws: int = 0
    """Monte Carlo draws of the estimator."""

    def __post_init__(self) -> None:
        for field, allowed in (("direction", DIRECTIONS), ("estimator", ESTIMATORS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {allowed}, not {getattr(self, field)!r}")


@dataclass(frozen=True)
class Point:
    """One value of a metric of a run at an optimizer step; it may be NaN or infinite."""

    step: int
    tokens: int
    """Training tokens seen, repetitions counted."""
    flops: float
    """Floating point operations spent on training."""
    seconds: float
    """Training time over all attempts."""
    value: float
    stderr: float | None = None
    """Monte Carlo standard error; None or NaN when there is none."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """Saved weights of a run."""

    step: int
    tokens: int
    """Training tokens seen, repetitions counted."""
    uri: str
    digest: str


@dataclass(frozen=True)
class ServingMeasurement:
    """What it costs to serve a checkpoint with some settings of the decoder, and how good the answers are."""

    step: int
    checkpoint_digest: str
    decoding: Mapping[str, object]
    """Settings of the decoder, as the predictor takes them."""
    device: str
    concurrency: int
    """Clients at once."""
    requests: int
    tokens_per_second: float
    """Generated tokens of all clients together, without padding."""
    first_token_p50: float | None = None
    """Median seconds until the first token or block of an answer."""
    first_token_p99: float | None = None
    quality_metric: str | None = None
    """Name of a metric of the catalogue."""
    quality: float | None = None
    quality_stderr: float | None = None


@dataclass(frozen=True)
class QueryResult:
    """Columns and rows of a query."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool = False
    """Whether rows beyond the limit were left out."""
