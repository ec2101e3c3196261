"""The registry over HTTP: an API and web pages over crossover.registry. No SQL in here."""
