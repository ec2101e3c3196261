"""Curves from anybody's files: CSV, gzipped CSV and Parquet; long tables, and wide ones as trackers export them.

    table, cells = read_curves(Path("runs.csv")), ...

This room reads files and hands columns to `crossover.analysis`, which reads none.
"""

from crossover.curve_files.cells import CellCurves, cell_column, split_cells
from crossover.curve_files.concatenation import concatenate
from crossover.curve_files.read import read_curves
from crossover.curve_files.table import CurveTable, listing

__all__ = ["CellCurves", "CurveTable", "cell_column", "concatenate", "listing", "read_curves", "split_cells"]
