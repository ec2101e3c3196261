"""Samplers for both families."""
