"""The SQL registry: studies, runs, measurements, analyses and deployments."""

from crossover.registry.attempts import Attempt, kept_alive
from crossover.registry.registry import Registry, upgrade
from crossover.registry.registry_records import MetricDef, Point, QueryResult, SavedCheckpoint

__all__ = ["Attempt", "MetricDef", "Point", "QueryResult", "Registry", "SavedCheckpoint", "kept_alive", "upgrade"]
