"""Corpora: sources, cleaning, deduplication, tokens, nested budgets, the domain cloze task."""
