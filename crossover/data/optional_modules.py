"""Modules of the extra `data`, imported where a source needs one."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from crossover.errors import DataError


def optional_module(name: str) -> ModuleType:
    """An imported module.

    Raises:
        DataError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
        raise DataError(
            "data.no-library",
            field="data.source",
            problem=f"{name} is not installed, which reads this kind of source",
            remedy="run: pip install 'crossover[data]'",
        ) from error
