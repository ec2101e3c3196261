"""Samplers for both families, behind one engine: batches, streams, and infilling for the DLM."""

from crossover.decoding.generate_text import generate, stream
from crossover.decoding.generation_request import Completion, Generation

__all__ = ["Completion", "Generation", "generate", "stream"]
