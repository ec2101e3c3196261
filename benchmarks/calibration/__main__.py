"""Print the operating characteristics as Markdown tables.

python -m benchmarks.calibration [--repeats N] [--tables NAME ...]
"""

from __future__ import annotations

import argparse

from benchmarks.calibration import advice, detectors, full_analyses, item_clusters, messy, places, quality_ratios

TABLES = {
    "one": ("One judgement, beside naive ones", detectors.table),
    "noise": ("Other noise", detectors.noise_table),
    "analyses": ("Full analyses", full_analyses.table),
    "speed": ("Speed", full_analyses.speed),
    "items": ("Items in clusters", item_clusters.table),
    "advice": ("Advice that is followed", advice.table),
    "budgets": ("Advice at a budget", advice.advise_table),
    "places": ("Where crossings are", places.table),
    "tiers": ("Ratio of two tiers' crossings", quality_ratios.table),
    "messy": ("Messy runs", messy.table),
}
QUICK = ("one", "noise", "analyses", "speed")


def main() -> None:
    """Print the tables, each as soon as it is done."""
    parser = argparse.ArgumentParser(description="Error rates of the analysis on simulated studies.")
    parser.add_argument("--repeats", type=int, default=400, help="simulated studies per row")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=QUICK, help="which; by default the quick ones")
    chosen = parser.parse_args()
    for name in chosen.tables:
        title, table = TABLES[name]
        print(f"## {title}\n\n{table(chosen.repeats)}\n", flush=True)


if __name__ == "__main__":
    main()
