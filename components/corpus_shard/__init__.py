"""Pipeline stage: the corpus becomes a dataset and the grid becomes groups of runs."""
