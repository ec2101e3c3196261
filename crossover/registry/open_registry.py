"""A registry by its URL: a database, or the service in front of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from crossover.registry.registry import Registry
from crossover.settings import get_settings

if TYPE_CHECKING:
    from crossover.registry.remote import RemoteRegistry

AnyRegistry: TypeAlias = "Registry | RemoteRegistry"


def is_service(url: str) -> bool:
    """Whether a registry's URL is that of a service."""
    return url.startswith(("http://", "https://"))


def open_registry(url: str) -> AnyRegistry:
    """Open a registry to read and write.

    Args:
        url: SQLAlchemy URL of a database, or `http(s)://host:port` of a service, for which the settings have the token
            and the namespace.

    Raises:
        RegistryError: it cannot be opened; see `Registry.open` and `RemoteRegistry`.
    """
    if not is_service(url):
        return Registry.open(url)
    from crossover.registry.remote import RemoteRegistry

    settings = get_settings()
    return RemoteRegistry(
        url,
        settings.scratch_folder / "spool",
        namespace=settings.registry_namespace,
        token=settings.registry_token.get_secret_value(),
        token_file=settings.registry_token_file,
    )


def open_to_read(url: str) -> AnyRegistry:
    """Open a registry to read; nothing is created, migrated or locked. Arguments and errors as `open_registry`."""
    return open_registry(url) if is_service(url) else Registry.open_read_only(url)
