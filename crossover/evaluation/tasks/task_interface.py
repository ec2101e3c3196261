"""The interface of a task: it turns documents into requests, and a model's responses into per-item scores.

A request either scores the likelihood of a continuation or generates text; models of both families serve both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

from crossover.data.task_packs import Document, Pack
from crossover.decoding.generation_request import Completion, Generation
from crossover.evaluation.encoded_pair import Text
from crossover.tokenization.tokenizer import BYTES, Tokenizer


class Continuation(NamedTuple):
    """Request for the likelihood of a continuation given its context."""

    context: Text
    continuation: Text


class Scored(NamedTuple):
    """Response to a `Continuation`."""

    nll: float
    """NLL of all tokens of the continuation given the context, in nats: exact for AR, an upper bound for a DLM."""
    stderr: float
    """Monte Carlo standard error of `nll`; 0 where every mask was enumerated, NaN with a single draw."""
    tokens: int
    """Tokens of the continuation."""
    characters: int
    """Characters of the continuation without leading and trailing spaces; tokens where it is given as tokens."""
    draws: int
    """Largest number of masks that any of the item's continuations was scored under; 1 for AR."""


Request = Continuation | Generation
Response = Scored | Completion


class ItemScore(NamedTuple):
    """Result of one item."""

    correct: float
    """1 right, 0 wrong; 1/n where n options tie for the best."""
    values: dict[str, float]
    """Values by metric, keys of `metric_catalogue.TASK_METRICS`; a task's metrics are their means over items."""
    option_nll: tuple[float, ...] = ()
    """NLL of each option in nats a token; empty for tasks without options."""


class Task(Protocol):
    """A format of documents. It holds no state; what else varies is a field of the pack."""

    generates: ClassVar[bool]
    """Whether the model generates text, which costs many forward passes."""
    executes: ClassVar[bool]
    """Whether generated programs are run, which needs the sandbox."""

    def identity(self, document: Document, number: int) -> tuple[str, str]:
        """The item's id and its cluster; items of one cluster are not independent.

        Args:
            document: the item.
            number: of the document within its pack, for documents without an id.
        """

    def requests(self, document: Document, pack: Pack, tokenizer: Tokenizer = BYTES) -> Sequence[Request]:
        """The requests of one item.

        Args:
            document: the item.
            pack: that it is of.
            tokenizer: of the model, in whose tokens completions are as long as a solution.

        Raises:
            ValueError, KeyError, TypeError, IndexError: the document is not of this format.
        """

    def score(self, document: Document, pack: Pack, responses: Sequence[Response]) -> ItemScore:
        """Score the responses, given in the order of the requests."""
