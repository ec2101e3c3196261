"""Documents are normalised, repaired, scrubbed, filtered, and freed of exact copies."""
