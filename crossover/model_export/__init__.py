"""Checkpoints for other programs: folders that transformers, vLLM and SGLang load without Crossover."""
