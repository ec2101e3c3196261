"""Pipelines made of components, and how they are compiled, checked and run on one machine."""
