"""Print the operating characteristics as Markdown tables.

python -m benchmarks.calibration [--repeats N]
"""

from __future__ import annotations

import argparse

from benchmarks.calibration import detectors, full_analyses


def main() -> None:
    """Print the tables, each as soon as it is done."""
    parser = argparse.ArgumentParser(description="Error rates of the analysis on simulated studies.")
    parser.add_argument("--repeats", type=int, default=400, help="simulated studies per row")
    repeats = parser.parse_args().repeats
    for title, table in (
        ("One judgement, beside naive ones", detectors.table),
        ("Other noise", detectors.noise_table),
        ("Full analyses", full_analyses.table),
        ("Speed", full_analyses.speed),
    ):
        print(f"## {title}\n\n{table(repeats)}\n", flush=True)


if __name__ == "__main__":
    main()
