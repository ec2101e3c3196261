"""Holes whose length is a range: the lengths to try, and the likeliest of the answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from crossover.decoding.generation_request import Completion, Hole, Text
from crossover.errors import RequestError

MAX_COMBINATIONS = 16


def fixed_lengths(parts: Sequence[Text | Hole | range]) -> list[tuple[Text | Hole, ...]]:
    """Every combination of the holes' lengths.

    Args:
        parts: texts, holes, and ranges of a hole's tokens.

    Raises:
        RequestError: more combinations than are tried.
    """
    combinations = math.prod(len(part) for part in parts if isinstance(part, range))
    if not 1 <= combinations <= MAX_COMBINATIONS:
        raise RequestError(
            "request.too-many-lengths",
            field="parts",
            problem=f"the ranges of holes give {combinations} combinations of lengths, and 1 to {MAX_COMBINATIONS} are "
            "tried",
            remedy="give narrower ranges, or fixed lengths",
        )
    choices: list[list[Text | Hole]] = [
        [Hole(tokens) for tokens in part] if isinstance(part, range) else [part] for part in parts
    ]
    return list(itertools.product(*choices))


def likeliest(completions: Sequence[Completion]) -> int:
    """Index of the completion whose tokens have the largest mean log-probability; the first of equals."""
    return max(range(len(completions)), key=lambda index: completions[index].confidence)
