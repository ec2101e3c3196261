"""Time and memory of the demo, and the overhead of a pipeline stage.

    python -m benchmarks.demo_time [--without-study]

Runs `crossover --help` eleven times, the `smoke` study twice (the second time all its steps find their work done, so
that what is left is the pipeline's own cost), and the `demo` study once. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from crossover.settings import available_cores
from crossover.study.load_study import load_study

HELP_RUNS = 11


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_time")
    parser.add_argument("--without-study", action="store_true", help="leave out the demo study")
    options = parser.parse_args()
    rows = [_help()]
    with tempfile.TemporaryDirectory() as folder:
        rows += _smoke(Path(folder))
        if not options.without_study:
            rows.append(_study(Path(folder), "demo", "`crossover run demo`, seconds", "480"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    rows.append(("largest process of all, GiB", f"{peak:.2f}", "2.00"))
    print(f"{available_cores()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print("| what | measured | target, at most |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 0


def _help() -> tuple[str, str, str]:
    seconds = []
    for _ in range(HELP_RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "crossover.cli", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return f"`crossover --help`, seconds, median of {HELP_RUNS}", f"{statistics.median(seconds):.3f}", "0.300"


def _smoke(folder: Path) -> list[tuple[str, str, str]]:
    first = _study(folder, "smoke", "`crossover run smoke`, seconds", "90")
    study = load_study("smoke")
    # two steps a run, but two of those at once; prepare and analyse come before and after
    steps = 2 + 2 * len(study.arms) * len(study.seeds)
    _, seconds, _ = _study(folder, "smoke", "", "")
    return [
        first,
        (f"one of the {steps} steps of a study that is already done, seconds", f"{float(seconds) / steps:.2f}", "5.00"),
    ]


def _study(folder: Path, name: str, label: str, target: str) -> tuple[str, str, str]:
    command = [sys.executable, "-m", "crossover.cli", "run", name, "--out", str(folder / name), "--json"]
    began = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"CROSSOVER_HOME": str(folder / "home")}
    )
    return label, f"{time.perf_counter() - began:.1f}", target


if __name__ == "__main__":
    sys.exit(main())
