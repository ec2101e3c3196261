"""Where a registry is: the URL of an SQLite file or of a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from crossover.errors import RegistryError
from crossover.url_masking import mask_password

UNWRITABLE_REMEDY = "give a URL in a folder that you may write to with --registry"


def parse_url(text: str) -> URL:
    """Parse and check the URL of a registry; touches neither files nor the network.

    Raises:
        RegistryError: not the URL of an SQLite file or a PostgreSQL database, or the driver is not installed.
    """
    try:
        url = make_url(text)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise _bad_url(text) from error
    if url.get_backend_name() not in ("sqlite", "postgresql") or "@" in (url.host or ""):
        raise _bad_url(text)
    if is_sqlite(url) and (not url.database or url.database == ":memory:" or url.database.startswith("file:")):
        raise _bad_url(text)
    try:
        url.get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        raise RegistryError(
            "registry.no-driver",
            field="registry url",
            problem=f"{masked(url)}: the driver {error.name} is not installed",
            remedy="write postgresql://user@host/name, and install its driver: pip install 'psycopg[binary]'",
        ) from error
    return url


def _bad_url(text: str) -> RegistryError:
    return RegistryError(
        "registry.bad-url",
        field="registry url",
        problem=f"{mask_password(text)!r} is not the URL of an SQLite file or a PostgreSQL database",
        remedy="write for example sqlite:///studies/registry.sqlite or postgresql://user@host/name",
    )


def is_sqlite(url: URL) -> bool:
    """Whether the registry is a file."""
    return url.get_backend_name() == "sqlite"


def file_of(url: URL) -> Path:
    """The file of an SQLite registry."""
    return Path(str(url.database))


def masked(url: URL) -> str:
    """The URL as it may be printed."""
    return mask_password(url.render_as_string())


def make_folder(url: URL) -> None:
    """Make the parent folder of an SQLite file.

    Raises:
        RegistryError: it cannot be made.
    """
    try:
        file_of(url).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(
            "registry.unwritable",
            field="registry url",
            problem=f"{masked(url)}: its folder cannot be made ({error.strerror})",
            remedy=UNWRITABLE_REMEDY,
        ) from error
