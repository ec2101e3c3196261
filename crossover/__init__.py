"""Crossover: pretrain autoregressive and masked diffusion language models under matched conditions, and decide."""

__version__ = "0.1.0"
