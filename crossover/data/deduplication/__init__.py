"""Near-duplicates: shingles of words or characters, MinHash signatures, bands, clusters."""
