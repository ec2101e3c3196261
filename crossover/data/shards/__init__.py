"""A corpus in shards: read and cleaned part by part, in processes or on machines of their own, and merged."""
