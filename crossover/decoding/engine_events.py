"""What the engine reports of a request while it decodes."""

from __future__ import annotations

from dataclasses import dataclass

from crossover.decoding.generation_request import Completion, TokenLogprob


@dataclass(frozen=True)
class Piece:
    """Text that is final: the pieces of a request joined are its completion's text."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens that became final since the last piece, where the request has `logprobs`."""


@dataclass(frozen=True)
class Canvas:
    """Tokens that one forward pass of a diffusion model committed, or masked again."""

    forward_passes: int
    """Of the request so far."""
    updates: tuple[CanvasToken, ...]


@dataclass(frozen=True)
class CanvasToken:
    """One position of the canvas."""

    position: int
    """Among the tokens to generate, over all holes, from 0."""
    text: str | None
    """Of the token; None where it was masked again. A part of a character is U+FFFD."""
    probability: float
    """Of the token when it was committed."""


@dataclass(frozen=True)
class Finished:
    """The last event of a request that was completed."""

    completion: Completion
    timing: Timing


@dataclass(frozen=True)
class Failed:
    """The last event of a request that was not completed: an error, a deadline, a cancellation."""

    error: Exception


@dataclass(frozen=True)
class Timing:
    """Seconds from the submission of a request."""

    queued: float
    """Until its first forward pass began."""
    first: float
    """Until its first token, or block, was final."""
    total: float


Event = Piece | Canvas | Finished | Failed
