"""Glob patterns over folders and over keys of a bucket, with one meaning.

`*`, `?` and `[…]` match within a name, `**` any number of folders, and `**.txt` is `**/*.txt`. A name is also
matched by itself, whatever brackets it has; hidden names only by patterns that start with a dot. Links that lead back
into a folder above them are not followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

MAGIC = re.compile(r"[*?\[]")
_Folders = frozenset[tuple[int, int]]


def split_pattern(pattern: str) -> list[str]:
    """The segments of a pattern."""
    segments: list[str] = []
    for segment in pattern.split("/"):
        if segment.startswith("**") and segment != "**":
            segments += ["**", segment[1:]]
        else:
            segments.append(segment)
    return [*segments, "*"] if segments[-1] == "**" else segments


def key_matches(key: str, pattern: str) -> bool:
    """Whether a key of a bucket matches a pattern."""
    return _matches(key.split("/"), split_pattern(pattern))


def local_files(pattern: str) -> list[Path]:
    """The files that a pattern, a file's own name or a folder's name means, sorted by their paths.

    A folder means its visible files at any depth. `~` is the home folder.

    Raises:
        OSError: a folder cannot be listed.
    """
    path = os.path.expanduser(pattern)
    if os.path.isfile(path):
        return [Path(path)]
    segments = ["**", "*"] if os.path.isdir(path) else split_pattern(path.lstrip("/"))
    start = path if os.path.isdir(path) else "/" if path.startswith("/") else "."
    return sorted(set(_expand(Path(start), segments, frozenset())), key=str)


def _name_matches(name: str, segment: str) -> bool:
    if name == segment:
        return True
    return fnmatchcase(name, segment) and (segment.startswith(".") or not name.startswith("."))


def _matches(names: list[str], segments: list[str]) -> bool:
    if not segments or not names:
        return not segments and not names
    if segments[0] == "**":
        deeper = not names[0].startswith(".") and _matches(names[1:], segments)
        return _matches(names, segments[1:]) or deeper
    return _name_matches(names[0], segments[0]) and _matches(names[1:], segments[1:])


def _expand(folder: Path, segments: list[str], above: _Folders) -> Iterator[Path]:
    """Files below a folder that match; `above` are the folders on the way to it, by device and inode."""
    first, rest = segments[0], segments[1:]
    if first != "**" and not MAGIC.search(first):
        yield from _enter(folder / first, rest, above)
        return
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    if first == "**":
        yield from _expand(folder, rest, above)
    for name in os.listdir(folder):
        if first == "**" and not name.startswith(".") and os.path.isdir(folder / name):
            yield from _expand(folder / name, segments, above | {here})
        elif first != "**" and _name_matches(name, first):
            yield from _enter(folder / name, rest, above | {here})


def _enter(path: Path, segments: list[str], above: _Folders) -> Iterator[Path]:
    if not segments:
        if os.path.isfile(path):
            yield path
    elif os.path.isdir(path):
        yield from _expand(path, segments, above)
