"""Curves from anybody's files: CSV, gzipped CSV and Parquet; long tables, and wide ones as trackers export them.

    table, cells = read_curves(Path("runs.csv")), ...

This room reads files and hands columns to `crossover.analysis`, which reads none.
"""

from crossover.curve_files.cells import CellCurves, split_cells
from crossover.curve_files.read import read_curves
from crossover.curve_files.table import CurveTable, listing

__all__ = ["CellCurves", "CurveTable", "listing", "read_curves", "split_cells"]
