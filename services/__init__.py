"""Long-running services over the library."""
