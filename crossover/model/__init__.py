"""One transformer for both families, and its sizes."""
