"""The SQL registry: what was asked, run, measured, found and deployed."""

from crossover.registry.registry import Attempt, Registry, upgrade
from crossover.registry.registry_records import MetricDef, Point, RunKey, Table

__all__ = ["Attempt", "MetricDef", "Point", "Registry", "RunKey", "Table", "upgrade"]
