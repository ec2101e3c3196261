"""What routes need of access control."""

from crossover_services.registry.access_control import Caller, OpenRegistry, Reader

__all__ = ["Caller", "OpenRegistry", "Reader"]
