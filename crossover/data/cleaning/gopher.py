"""Gopher's rules of quality and repetition (arXiv 2112.11446, appendix A), as datatrove implements them.

datatrove cuts English into words by spaCy, which needs a package of its own and makes a word of each comma: dialogue in
novels then fails the rule that 80 % of the words have a letter. The rules take any tokenizer; ours cuts at blanks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from crossover.study.cleaning_config import CleaningConfig

_REASONS = {
    "gopher_short_doc": "too few words",
    "gopher_long_doc": "too many words",
    "gopher_below_avg_threshold": "words too short",
    "gopher_above_avg_threshold": "words too long",
    "gopher_too_many_hashes": "too many hashes",
    "gopher_too_many_ellipsis": "too many ellipses",
    "gopher_too_many_bullets": "too many bullets",
    "gopher_too_many_end_ellipsis": "too many lines end with an ellipsis",
    "gopher_below_alpha_threshold": "too few words with letters",
    "gopher_enough_stop_words": "too few stop words",
    "dup_para_frac": "repeated paragraphs",
    "dup_para_char_frac": "repeated paragraphs",
    "dup_line_frac": "repeated lines",
    "dup_line_char_frac": "repeated lines",
}
"""datatrove's names of the rules in words; what is not here is a rule of n-grams."""
Rule = Callable[[str], str | None]
"""The reason to leave a text out; None keeps it."""


@cache
def _words() -> Any:  # noqa: ANN401 - datatrove is not typed
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Words(WordTokenizer):  # type: ignore[misc]  # datatrove has no types
        """What stands between blanks."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            raise NotImplementedError("Gopher's rules know no sentences")

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            raise NotImplementedError("Gopher's rules know no sentences")

    return Words()


def quality_rule(config: CleaningConfig) -> Rule:
    """Gopher's quality rules.

    Args:
        config: limits of words. The rule of stop words, which are English, holds where no other language is asked for.
    """
    from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter

    english = set(config.languages) <= {"en"}
    return _rule(
        GopherQualityFilter(
            min_doc_words=config.minimum_words,
            max_doc_words=config.maximum_words or None,
            min_stop_words=2 if english else None,
            language=_words(),
        )
    )


def repetition_rule() -> Rule:
    """Gopher's rules of repeated lines, paragraphs and n-grams."""
    from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter

    return _rule(GopherRepetitionFilter(language=_words()))


def _rule(rules: Any) -> Rule:  # noqa: ANN401 - datatrove is not typed
    from datatrove.data import Document

    def reason(text: str) -> str | None:
        verdict = rules.filter(Document(text=text, id=""))
        return None if verdict is True else _REASONS.get(verdict[1], "repeated n-grams")

    return reason
