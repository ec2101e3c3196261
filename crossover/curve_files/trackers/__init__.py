"""Curves of experiment trackers: MLflow's server, `mlruns` and CSV, W&B's CSV and histories, TensorBoard's event files.

    runs = read_tracked(Path("mlruns"), ["val_loss"])
    table = curves_of_runs(runs, RunNames("(?P<arm>ar|dlm)-seed(?P<seed>[0-9]+)"), TokenRule(per_step=4096))

A tracker knows runs by their names and points by their steps. Which arm and seed a run is, and how many tokens a step
has seen, is said by the caller and never guessed.
"""

from crossover.curve_files.trackers.mlflow_server import Source, source_of
from crossover.curve_files.trackers.read_tracked import is_tracked, read_tracked
from crossover.curve_files.trackers.run_curves import TokenRule, curves_of_runs
from crossover.curve_files.trackers.run_rules import RunList, RunNames, RunRule
from crossover.curve_files.trackers.tracked_series import TrackedSeries

__all__ = [
    "RunList",
    "RunNames",
    "RunRule",
    "Source",
    "TokenRule",
    "TrackedSeries",
    "curves_of_runs",
    "is_tracked",
    "read_tracked",
    "source_of",
]
