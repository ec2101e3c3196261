"""Benchmarks: each prints a Markdown table, with the command that made it."""
