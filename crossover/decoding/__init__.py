"""Samplers for both families, behind one engine: batches, streams, and infilling for the DLM."""

from crossover.decoding.generation import generate, stream
from crossover.decoding.request import Completion, Generation

__all__ = ["Completion", "Generation", "generate", "stream"]
