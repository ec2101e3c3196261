"""The SQL registry: what was asked, run, measured, found and deployed."""

from crossover.registry.records import MetricDef, Point, RunKey, Table
from crossover.registry.registry import Attempt, Registry, upgrade

__all__ = ["Attempt", "MetricDef", "Point", "Registry", "RunKey", "Table", "upgrade"]
