"""The registry over HTTP: the same methods, without a database's password."""

from crossover.registry.remote.remote_registry import RemoteRegistry

__all__ = ["RemoteRegistry"]
