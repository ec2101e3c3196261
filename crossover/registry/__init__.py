"""The SQL registry: studies, runs, measurements, analyses and deployments."""

from crossover.registry.attempts import Attempt, kept_alive
from crossover.registry.open_registry import AnyRegistry, is_service, open_registry, open_to_read
from crossover.registry.registry import Registry, upgrade
from crossover.registry.registry_records import MetricDef, Point, QueryResult, SavedCheckpoint

__all__ = [
    "AnyRegistry",
    "Attempt",
    "MetricDef",
    "Point",
    "QueryResult",
    "Registry",
    "SavedCheckpoint",
    "is_service",
    "kept_alive",
    "open_registry",
    "open_to_read",
    "upgrade",
]
