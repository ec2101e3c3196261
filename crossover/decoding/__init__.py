"""Text generation with models of both families: requests, their decoding state, and the engine that batches them."""

from crossover.decoding.generation_request import Completion, Generation

__all__ = ["Completion", "Generation"]
