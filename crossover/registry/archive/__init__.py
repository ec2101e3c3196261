"""One study in Parquet files, to keep it out of the registry, or to bring it into another one."""

from crossover.registry.archive.read_archive import unarchive
from crossover.registry.archive.write_archive import archive

__all__ = ["archive", "unarchive"]
