"""Where a source begins: rules about folders look at what is below it, never at where a corpus happens to lie."""

from __future__ import annotations

import os
from pathlib import Path

from crossover.data.sources.glob_patterns import MAGIC
from crossover.study.data_config import DataConfig


def source_root(source: str) -> str:
    """The beginning that all names of a source's documents share: a folder, a file, a prefix of a bucket; may be empty.

    Args:
        source: as a study has it, such as `tree:~/code` or `text:/data/*/notes.txt`.
    """
    scheme, _, place = source.partition(":")
    if scheme in ("stdlib", "hf"):
        return "" if scheme == "stdlib" else source
    if place.startswith("s3://"):
        return _fixed(place)
    path = os.path.expanduser(place)
    root = str(Path(path if os.path.exists(path) else _fixed(path)))
    return "" if root in (".", "/") else root


def source_roots(data: DataConfig) -> tuple[str, ...]:
    """The root of each source of a corpus."""
    return tuple(source_root(part.source) for part in data.parts)


def below_root(name: str, root: str) -> str | None:
    """A document's name below the root of its source; None for a document of another source."""
    if not root or not name.startswith(root):
        return None if root else name
    rest = name[len(root) :]
    if rest.startswith("/"):
        return rest[1:]
    return name.rpartition("/")[2] if rest[:1] in ("", ":", "#") else None  # the root is the file itself


def inner_name(name: str, roots: tuple[str, ...]) -> str:
    """A document's name below the deepest of some roots; whole where it is below none."""
    return min((inner for root in roots if (inner := below_root(name, root)) is not None), key=len, default=name)


def _fixed(pattern: str) -> str:
    """The folders before the first one that is a pattern; all of it where none is."""
    magic = MAGIC.search(pattern)
    return pattern[: pattern.rfind("/", 0, magic.start()) + 1].rstrip("/") if magic else pattern.rstrip("/")
