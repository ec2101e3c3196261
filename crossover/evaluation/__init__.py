"""Likelihoods and tasks, with per-item scores."""
