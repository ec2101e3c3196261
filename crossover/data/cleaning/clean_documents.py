"""The steps of the cleaning in their order: first those that rewrite, then those that leave documents out.

Filters see the text that would be trained on, and do not change it; hence cleaning twice is cleaning once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from crossover.data.cleaning import scrubbing
from crossover.data.cleaning.characters import remove_controls, repair_encoding
from crossover.data.cleaning.cleaning_counts import CleaningCounts, StepCounts
from crossover.data.cleaning.code_files import code_fault
from crossover.data.cleaning.gopher import quality_rule, repetition_rule
from crossover.data.cleaning.language import check_languages, language_of
from crossover.data.cleaning.normalisation import text_bytes
from crossover.data.document_spool import Document
from crossover.data.sources.source_roots import inner_name
from crossover.study.cleaning_config import CleaningConfig

Apply = Callable[[Document, StepCounts], Document | None]


class Step(NamedTuple):
    """A step: a document as it leaves it, or None after counting why it is left out."""

    name: str
    apply: Apply


def clean_documents(
    documents: Iterable[Document], config: CleaningConfig, counts: CleaningCounts, roots: tuple[str, ...] = ()
) -> Iterator[Document]:
    """Clean documents one by one, in their order.

    Args:
        documents: normalised, not empty.
        config: the steps.
        counts: updated while documents pass.
        roots: of the sources (`source_root`): rules of names see what is below them.

    Raises:
        DataError: a language that the detector does not know.
        ModuleNotFoundError: a step needs a package of the extra `data`.
    """
    clean = cleaner(config, counts, roots)
    for document in documents:
        cleaned = clean(document)
        if cleaned is not None:
            yield cleaned


def cleaner(
    config: CleaningConfig, counts: CleaningCounts, roots: tuple[str, ...] = ()
) -> Callable[[Document], Document | None]:
    """What cleans one document, or counts why it is left out.

    Args:
        config: the steps.
        counts: updated with each document.
        roots: where the sources begin; see `clean_documents`.

    Raises:
        DataError: a language that the detector does not know.
        ModuleNotFoundError: a step needs a package of the extra `data`.
    """
    steps = cleaning_steps(config, counts, roots)
    counts.steps = tallies = [StepCounts(step.name) for step in steps]

    def clean(document: Document) -> Document | None:
        counts.bytes_read.add(text_bytes(document.text))
        return _through(document, steps, tallies)

    return clean


def cleaning_steps(config: CleaningConfig, counts: CleaningCounts, roots: tuple[str, ...] = ()) -> list[Step]:
    """The steps that a study asks for, in their order; see `clean_documents`."""
    steps = []
    if config.repair_encoding:
        steps.append(_rewriting("encoding repair", repair_encoding))
    if config.control_characters:
        remove = partial(remove_controls, repairs=config.repair_encoding)
        steps.append(_rewriting("control characters", remove))
    if config.secrets:
        steps.append(_rewriting("secrets", lambda text, tally: scrubbing.scrub(text, scrubbing.SECRETS, tally)))
    if config.personal_data:
        steps.append(_rewriting("personal data", lambda text, tally: scrubbing.scrub(text, scrubbing.PERSONAL, tally)))
    if config.minimum_characters or config.maximum_characters:
        steps.append(_filtering("length", lambda document: _length_fault(document.text, config)))
    if config.code_files:
        steps.append(_filtering("code files", lambda one: code_fault(inner_name(one.name, roots), one.text)))
    if config.languages:
        steps.append(Step("language", _language_step(config, counts)))
    if config.gopher_quality:
        quality = quality_rule(config)
        steps.append(_filtering("Gopher quality", lambda document: quality(document.text)))
    if config.gopher_repetition:
        repetition = repetition_rule()
        steps.append(_filtering("Gopher repetition", lambda document: repetition(document.text)))
    return steps


def _through(document: Document, steps: list[Step], tallies: list[StepCounts]) -> Document | None:
    size = text_bytes(document.text)
    for step, tally in zip(steps, tallies, strict=True):
        tally.documents_in += 1
        tally.bytes_in += size
        after = step.apply(document, tally)
        if after is None:
            return None
        if after.text is not document.text:
            size = text_bytes(after.text)
        document = after
        tally.documents_out += 1
        tally.bytes_out += size
    return document


def _rewriting(name: str, rewrite: Callable[[str, StepCounts], str]) -> Step:
    def apply(document: Document, tally: StepCounts) -> Document | None:
        text = rewrite(document.text, tally)
        if text is document.text:
            return document
        if not text:
            tally.drop("empty")
            return None
        return document._replace(text=text)

    return Step(name, apply)


def _filtering(name: str, fault: Callable[[Document], str | None]) -> Step:
    def apply(document: Document, tally: StepCounts) -> Document | None:
        reason = fault(document)
        if reason is None:
            return document
        tally.drop(reason)
        return None

    return Step(name, apply)


def _length_fault(text: str, config: CleaningConfig) -> str | None:
    if len(text) < config.minimum_characters:
        return "too short"
    return "too long" if config.maximum_characters and len(text) > config.maximum_characters else None


def _language_step(config: CleaningConfig, counts: CleaningCounts) -> Apply:
    check_languages(config.languages)

    def apply(document: Document, tally: StepCounts) -> Document | None:
        language = language_of(document.text)
        counts.languages[language] = counts.languages.get(language, 0) + 1
        if language not in config.languages:
            tally.drop(language)
            return None
        return document._replace(attributes={**document.attributes, "language": language})

    return apply
