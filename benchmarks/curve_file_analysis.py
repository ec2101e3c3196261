"""Time and memory of `crossover analyse --curves` on a large file.

Run `python -m benchmarks.curve_file_analysis`; writes a CSV of about 200 MB and a Parquet file of the same rows, and
prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

METRICS = ("val_loss", "train_loss", "bpb", "accuracy", "margin")
SEEDS = 8


def write(folder: Path, points: int) -> None:
    """Both files: 2 arms, 8 seeds, 5 metrics, so many points each; the DLM overtakes in the middle."""
    rng = np.random.default_rng(0)
    tokens = 1000.0 * np.arange(1, points + 1)
    runs = [(arm, seed, metric) for arm in ("ar", "dlm") for seed in range(SEEDS) for metric in METRICS]
    gap = 0.1 * np.log10(tokens.mean() / 10 / tokens)
    values = [4 - np.log10(tokens) / 5 + gap * (arm == "dlm") + 0.02 * rng.normal(size=points) for arm, _, _ in runs]
    columns = {
        "arm": np.repeat([arm for arm, _, _ in runs], points),
        "seed": np.repeat([seed for _, seed, _ in runs], points),
        "tokens": np.tile(tokens.astype(np.int64), len(runs)),
        "metric": np.repeat([metric for _, _, metric in runs], points),
        "value": np.concatenate(values),
        "stderr": np.full(points * len(runs), 0.0021),
    }
    paths = [folder / "runs.csv", folder / "runs.parquet"]
    parquet.write_table(pa.table(columns), paths[1])
    with paths[0].open("w") as file:
        file.write(",".join(columns) + "\n")
        file.writelines(
            ",".join(map(str, row)) + "\n" for row in zip(*(c.tolist() for c in columns.values()), strict=True)
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=52_500, help="points of one metric of one run")
    parser.add_argument("--write", type=Path, help="only write the files into this folder")
    options = parser.parse_args()
    if options.write:
        write(options.write, options.points)
        return
    print("| file | MB | rows | seconds | peak memory, MB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        # in a process of its own: a child's peak counts the memory of the process that it was forked from
        again = ("-m", "benchmarks.curve_file_analysis", "--points", str(options.points), "--write", folder)
        subprocess.run([sys.executable, *again], check=True)
        for path in sorted(Path(folder).iterdir()):
            began = time.perf_counter()
            command = ("analyse", "--curves", str(path), "--metric", "val_loss:lower:0.02", "--axes", "tokens")
            program = Path(sys.executable).with_name("crossover")
            child = subprocess.Popen([program, *command], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - began
            if status:
                sys.exit("crossover analyse failed")
            peak = usage.ru_maxrss / 1024
            rows = options.points * len(METRICS) * SEEDS * 2
            size = path.stat().st_size / 1e6
            print(f"| {path.suffix[1:]} | {size:.0f} | {rows:,} | {seconds:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
