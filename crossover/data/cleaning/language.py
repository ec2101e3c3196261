"""The language of a document by py3langid, whose model is in its package; docs/data_cleaning.md has the figures."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE_CHARACTERS = 1000
"""Of the middle of a document: the detector reads about 1 MB a second, and heads and tails are often boilerplate."""


@cache
def _classifier() -> Callable[[str], tuple[str, float]]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    classify: Callable[[str], tuple[str, float]] = identifier.classify
    return classify


def language_of(text: str) -> str:
    """The ISO 639-1 code of the likeliest language of a text."""
    start = max(0, (len(text) - SAMPLE_CHARACTERS) // 2)
    return _classifier()(text[start : start + SAMPLE_CHARACTERS])[0]
