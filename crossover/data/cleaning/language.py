"""The language of a document by py3langid, whose model is in its package; docs/data_cleaning.md has the figures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from crossover.errors import DataError

SAMPLE_CHARACTERS = 1000
"""Of the middle of a document: the detector reads about 1 MB a second, and heads and tails are often boilerplate."""


@cache
def _identifier() -> Any:  # noqa: ANN401 - py3langid is not typed
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


def check_languages(languages: Iterable[str]) -> None:
    """Check that the detector knows languages.

    Raises:
        DataError: it does not know one, so that no document could be in it.
    """
    known = sorted(_identifier().labels)
    for language in languages:
        if language not in known:
            raise DataError(
                "data.unknown-language",
                field="data.cleaning.languages",
                problem=f"the detector does not know {language!r}",
                remedy=f"choose from {', '.join(known)}",
            )


def language_of(text: str) -> str:
    """The ISO 639-1 code of the likeliest language of a text; `zxx` where it is none."""
    start = max(0, (len(text) - SAMPLE_CHARACTERS) // 2)
    return str(_identifier().classify(text[start : start + SAMPLE_CHARACTERS])[0])
