"""What goes in and out of the registry, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

DIRECTIONS = ("lower", "higher", "none")
ESTIMATORS = ("exact", "upper bound", "chain rule", "none")


@dataclass(frozen=True)
class RunKey:
    """Names a run: study, cell, arm, seed."""

    study_digest: str
    cell: str
    arm: str
    seed: int


@dataclass(frozen=True)
class MetricDef:
    """What a value is, and how it was obtained: an exact value and a bound are different metrics."""

    name: str
    unit: str
    direction: str
    """`lower` or `higher` is better, or `none`."""
    estimator: str
    """`exact`, `upper bound`, `chain rule`, or `none`."""
    draws: int = 0

    def __post_init__(self) -> None:
        for field, allowed in (("direction", DIRECTIONS), ("estimator", ESTIMATORS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"{field} must be one of {allowed}, found {getattr(self, field)!r}")


@dataclass(frozen=True)
class Point:
    """One value at one step. NaN and infinities are kept as what they are."""

    step: int
    tokens: int
    flops: float
    seconds: float
    value: float
    stderr: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of a query."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool = False
