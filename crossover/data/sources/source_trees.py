"""Trees of source code: which files are code and of what language, and the licences that lie beside them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from crossover.data.sources.source_counts import PartCounts
from crossover.data.sources.source_files import SourceFile
from crossover.data.sources.source_roots import inner_name

VERSION_CONTROL = frozenset({"CVS", "RCS", "SCCS", "_darcs"})
"""Folders that are not hidden by a dot."""
LICENCE_NAME = re.compile(r"(?i)^(un)?licen[cs]e|^copying|^notice|^copyright")
LICENCES = (
    (r"GNU AFFERO GENERAL PUBLIC LICENSE", "AGPL"),
    (r"GNU LESSER GENERAL PUBLIC LICENSE", "LGPL"),
    (r"GNU GENERAL PUBLIC LICENSE", "GPL"),
    (r"Mozilla Public License", "MPL"),
    (r"Apache License", "Apache-2.0"),
    (r"free and unencumbered software", "Unlicense"),
    (r"PYTHON SOFTWARE FOUNDATION LICENSE", "PSF"),
    (r"Permission is hereby granted, free of charge", "MIT"),
    (r"Permission to use, copy, modify, and(/or)? distribute", "ISC"),
    (r"Redistribution and use in source and binary forms", "BSD"),
)
"""What licences of these kinds say; the first that is found names a file's."""
_ENDINGS = {
    "assembly": "asm s",
    "c": "c h",
    "c++": "cc cpp cxx hh hpp hxx",
    "c#": "cs",
    "clojure": "clj cljs",
    "css": "css scss less",
    "cuda": "cu cuh",
    "dart": "dart",
    "elixir": "ex exs",
    "erlang": "erl hrl",
    "fortran": "f f90 f95",
    "go": "go",
    "haskell": "hs",
    "html": "html htm",
    "java": "java",
    "javascript": "js jsx mjs cjs",
    "julia": "jl",
    "kotlin": "kt kts",
    "lisp": "lisp el scm",
    "lua": "lua",
    "markdown": "md",
    "ocaml": "ml mli",
    "perl": "pl pm",
    "php": "php",
    "python": "py pyi",
    "r": "r",
    "restructuredtext": "rst",
    "ruby": "rb",
    "rust": "rs",
    "scala": "scala",
    "shell": "sh bash zsh",
    "sql": "sql",
    "swift": "swift",
    "typescript": "ts tsx",
    "zig": "zig",
}
LANGUAGES = {f".{ending}": language for language, endings in _ENDINGS.items() for ending in endings.split()}
"""Language by the end of a file's name; files of no language are left out."""


def note_tree_file(file: SourceFile, root: str, part: PartCounts) -> bool:
    """Note a file's language or licence; whether it is a document.

    Args:
        file: of the tree.
        root: of the source: names of folders above it say nothing.
        part: counts of the source; updated.

    Raises:
        OSError: a licence file cannot be read.
    """
    path = PurePosixPath(inner_name(file.name, (root,)))
    if VERSION_CONTROL.intersection(path.parts):
        return False
    language = LANGUAGES.get(path.suffix.lower())
    if language is None and LICENCE_NAME.match(path.name):
        part.licences.append(f"{file.name}: {_licence(file)}")
    if language is not None:
        part.languages[language] += 1
    return language is not None


def _licence(file: SourceFile) -> str:
    with file.open() as stream:
        text = " ".join(stream.read(20_000).decode("utf-8", "replace").split())
    return next(
        (name for pattern, name in LICENCES if re.search(pattern, text)), "of no kind that is known by its words"
    )
