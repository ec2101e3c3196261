"""The interface of a task: documents become requests, and the responses to them per-item scores.

A request is either a continuation whose likelihood is asked, or a text to be generated; both families answer both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, Protocol

from crossover.data.task_packs import Document, Pack
from crossover.decoding.generation_request import Completion, Generation

Text = str | tuple[int, ...]
"""Text, or tokens where a text has none (a piece cut inside a character)."""


class Continuation(NamedTuple):
    """How likely is this continuation of this context?"""

    context: Text
    continuation: Text


class Scored(NamedTuple):
    """The answer to a `Continuation`."""

    nll: float
    """Of the whole continuation given the context, in nats: exact for AR, an upper bound for a DLM."""
    stderr: float
    """Monte Carlo standard error of `nll`; 0 where every mask was enumerated, NaN with a single draw."""
    tokens: int
    characters: int
    """Of the continuation without the blanks around it (tokens, where it is given as tokens)."""
    draws: int
    """Most masks that any of the item's continuations was scored under; 1 for AR."""


Request = Continuation | Generation
Response = Scored | Completion


class ItemScore(NamedTuple):
    """What one item says of a model."""

    correct: float
    """1 right, 0 wrong; a tie for the first place is shared."""
    values: dict[str, float]
    """By metric: what the task's values are means of; keys of METRICS."""
    option_nll: tuple[float, ...] = ()
    """Nats a token of each option; empty where nothing is chosen from."""


class Metric(NamedTuple):
    """What a value of an item is."""

    unit: str
    direction: Literal["lower", "higher"]
    by_likelihood: bool = True
    """Whether it follows from likelihoods, and carries their estimator and draws."""


METRICS = {
    "accuracy": Metric("fraction", "higher"),
    "accuracy_norm": Metric("fraction", "higher"),
    "margin": Metric("nats/token", "higher"),
    "gold_nll": Metric("nats/token", "lower"),
    "distractor_nll": Metric("nats/token", "higher"),
    "exact_match": Metric("fraction", "higher", by_likelihood=False),
    "pass_at_1": Metric("fraction", "higher", by_likelihood=False),
}
"""accuracy: the likeliest option is the right one. accuracy_norm: likeliest per character. margin: mean NLL of the
distractors minus that of the truth; its two parts tell whether a rising loss still ranks better."""


class Task(Protocol):
    """One way to ask: a format of documents. It holds no state; the pack says what else varies."""

    generates: ClassVar[bool]
    """Whether models must write text, which costs many forward passes."""
    executes: ClassVar[bool]
    """Whether what they write is run, which needs the sandbox."""

    def identity(self, document: Document, number: int) -> tuple[str, str]:
        """The item's id, and the cluster of items that are not independent of it."""

    def requests(self, document: Document, pack: Pack) -> Sequence[Request]:
        """What to ask.

        Raises:
            ValueError, KeyError, TypeError, IndexError: the document is not of this format.
        """

    def score(self, document: Document, pack: Pack, responses: Sequence[Response]) -> ItemScore:
        """Judge the responses, which are in the order of the requests."""
