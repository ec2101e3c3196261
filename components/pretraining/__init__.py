"""Pipeline step: train the runs of a group."""
