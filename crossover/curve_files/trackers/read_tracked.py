"""Which tracker a file or folder comes from, and its series."""

from __future__ import annotations

from collections.abc import Sequence

from crossover.curve_files.table import error
from crossover.curve_files.trackers.mlflow_folder import is_mlflow_folder, read_mlflow_folder
from crossover.curve_files.trackers.mlflow_server import Source, read_mlflow_server
from crossover.curve_files.trackers.tensorboard_folder import is_tensorboard_folder, read_tensorboard_folder
from crossover.curve_files.trackers.tracked_series import TrackedSeries
from crossover.curve_files.trackers.tracker_tables import is_tracker_table, read_tracker_table


def is_tracked(path: Source) -> bool:
    """Whether something is a tracker's: every address and folder, and files that begin as those of a tracker do."""
    return isinstance(path, str) or path.is_dir() or is_tracker_table(path)


def read_tracked(path: Source, metrics: Sequence[str]) -> list[TrackedSeries]:
    """The series of some metrics of every run in a tracker's file or folder.

    Args:
        path: `mlruns`, a folder of TensorBoard, an exported file, or the address of an MLflow server.
        metrics: names in the tracker of the metrics to read.

    Raises:
        CurvesError: it is no tracker's, is damaged, or has none of the metrics.
    """
    if isinstance(path, str):
        found = read_mlflow_server(path, metrics)
    elif not path.is_dir():
        found = read_tracker_table(path, metrics)
    elif is_mlflow_folder(path):
        found = read_mlflow_folder(path, metrics)
    elif is_tensorboard_folder(path):
        found = read_tensorboard_folder(path, metrics)
    else:
        problem = f"{path} has neither runs of MLflow (meta.yaml, metrics/) nor event files of TensorBoard"
        raise error("not-tracked", "FILE", problem, "name mlruns, an experiment of it, or a log folder")
    if not found:
        problem = f"{path} has no run with any of the metrics {', '.join(map(repr, metrics))}"
        raise error(
            "not-tracked", "FILE", problem, "name metrics as the tracker does, with --metric and --tokens-metric"
        )
    return found
