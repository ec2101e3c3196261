"""Pipeline stage: train the runs of a group."""
