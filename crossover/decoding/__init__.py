"""Text generation with models of both families: batches, streams, and infilling with a DLM."""

from crossover.decoding.generation_request import Completion, Generation

__all__ = ["Completion", "Generation"]
