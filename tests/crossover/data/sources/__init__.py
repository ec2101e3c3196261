"""Tests of crossover.data.sources."""
