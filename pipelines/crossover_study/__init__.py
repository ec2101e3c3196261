"""The whole study as one pipeline."""
