"""Does a study in rounds reach the verdicts of the full grid for less of its GPU-hours?

    python -m benchmarks.sequential [--repeats N]

Studies of six cells with a known truth are run in rounds, with the sequential design, and as the full grid, on the same
simulated runs. The cells of a mix get their costs, 1 to 8 hours a seed, dealt at random in each study. Prints tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.calibration.detectors import markdown
from benchmarks.simulations.simulated_curves import SCENARIOS, Scenario, differences
from benchmarks.simulations.simulated_rounds import ORDERS, Order, SimulatedCell, SimulatedStudy, judge, simulate
from crossover.analysis import AnalysisPlan, MetricPlan
from crossover.analysis.analysis_plan import Spending

SEED = 20261123
HOURS = np.geomspace(1.0, 8.0, 6)
"""Of one seed in each cell, both arms together."""
EVEN = " (equal hours)"
"""What a mix is called whose cells cost the same."""
THIRD = 1 / 3
NONE = "insufficient evidence"
AGREEMENT = ("same outcome", "none, full grid has one", "one, full grid has none", "another")
"""Column heads of `agreement`."""
PLAN = AnalysisPlan(
    metrics=(MetricPlan(name="loss", direction="lower", delta=0.02, exact=True),),
    axes=("tokens",),
    comparisons=("matched",),
)
IDENTICAL, PARALLEL, CONVERGING, MIDDLE, LATE, STEEP, BENT = SCENARIOS
EARLY = Scenario("crossing early, +0.06 to −0.12", lambda u: 0.06 - 0.18 * u, 1 / 3, 1)
WEAK = Scenario("crossing weakly, +0.025 to −0.025", lambda u: 0.025 - 0.05 * u, 0.5, 1)
SLIGHT = Scenario("parallel, +0.015", lambda u: np.full_like(u, 0.015), None)
MIXES = {
    "all kinds": (EARLY, MIDDLE, LATE, IDENTICAL, CONVERGING, PARALLEL),
    "clear crossings": (EARLY, EARLY, MIDDLE, LATE, STEEP, BENT),
    "nothing crosses": (IDENTICAL, IDENTICAL, CONVERGING, CONVERGING, PARALLEL, PARALLEL),
    "weak effects": (WEAK, WEAK, WEAK, SLIGHT, SLIGHT, IDENTICAL),
}
PLANNED: dict[int, tuple[int, ...]] = {
    5: (5,),
    6: (5, 6),
    8: (5, 8),
    12: (5, 8, 12),
    16: (5, 8, 12, 16),
    24: (5, 8, 12, 16, 24),
}
"""Seeds of the full grid, and the looks of the rounds."""
OTHER_LOOKS: tuple[tuple[tuple[int, ...], Spending], ...] = (
    ((5, 8, 12), "pocock"),
    ((5, 8, 12), "obrien-fleming"),
    ((5, 12), "pocock"),
    ((5, 6, 8, 10, 12), "pocock"),
    (tuple(range(5, 13)), "pocock"),
    ((4, 6, 8, 12), "pocock"),
    ((3, 4, 6, 8, 12), "pocock"),
)
"""The last two are refused in a real study: fewer than five pairs yield no verdict."""


@dataclass(frozen=True)
class Setting:
    """A kind of study."""

    mix: str
    planned: int
    looks: tuple[int, ...]
    order: Order = "design"
    spending: Spending = "pocock"
    minimum: int = 5

    @property
    def plan(self) -> AnalysisPlan:
        """Its plan; unchecked, for looks below five pairs are refused."""
        return PLAN.model_copy(update={"looks": self.looks, "spending": self.spending, "minimum_pairs": self.minimum})


def outcomes(setting: Setting, repeats: int) -> list[SimulatedStudy]:
    """Simulated studies; the same runs and costs for all settings of a mix and a number of seeds."""
    mix = setting.mix.removesuffix(EVEN)
    found = []
    for i in range(repeats):
        rng = np.random.default_rng([SEED, i])
        hours = rng.permutation(HOURS) if mix == setting.mix else np.ones(HOURS.size)
        cells = [
            SimulatedCell(f"cell {c}", truth, {"ar": hours[c] / 2, "dlm": hours[c] / 2})
            for c, truth in enumerate(MIXES[mix])
        ]
        found.append(simulate(rng, cells, setting.planned, setting.plan, order=setting.order))
    return found


def quartiles(values: Sequence[float]) -> str:
    """Median and quartiles."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{median:.2f} ({low:.2f} – {high:.2f})"


def agreement(found: Sequence[SimulatedStudy]) -> list[str]:
    """Shares of cells: same outcome, no verdict where the full grid has one, the reverse, two that differ."""
    pairs = [pair for o in found for pair in zip(o.outcomes, o.full_outcomes, strict=True)]
    counts = (
        [mine == full for mine, full in pairs],
        [mine == NONE != full for mine, full in pairs],
        [full == NONE != mine for mine, full in pairs],
        [NONE != mine != full != NONE for mine, full in pairs],
    )
    return [f"{np.mean(count):.3f}" for count in counts]


def false_crossovers(setting: Setting, found: Sequence[SimulatedStudy]) -> list[str]:
    """Shares of the cells without a crossing that are called one, in rounds and by the full grid; empty if none."""
    places = [c for c, truth in enumerate(MIXES[setting.mix]) if truth.crossing is None]
    return [
        f"{np.mean([said[c] == 'crossover' for said in all_said for c in places]):.4f}" if places else ""
        for all_said in ([o.outcomes for o in found], [o.full_outcomes for o in found])
    ]


def main_table(repeats: int) -> str:
    """Mixes and planned seeds: hours and outcomes."""
    rows = []
    for mix in MIXES:
        for planned, looks in PLANNED.items():
            setting = Setting(mix, planned, looks)
            found = outcomes(setting, repeats)
            shares = [o.share for o in found]
            rows.append(
                [
                    mix,
                    str(planned),
                    ", ".join(map(str, looks)),
                    f"{looks[0] / planned:.2f}",
                    quartiles(shares),
                    f"{np.mean(np.array(shares) <= THIRD):.2f}",
                    *agreement(found),
                    *false_crossovers(setting, found),
                ]
            )
    return markdown(
        [
            "cells",
            "seeds planned",
            "looks",
            "least possible",
            "share of hours, median (quartiles)",
            "studies within a third",
            *AGREEMENT,
            "false 'crossover' in rounds",
            "in full grid",
        ],
        rows,
    )


def order_table(repeats: int) -> str:
    """Which cell goes next, with twelve planned seeds: how early the verdicts come."""
    rows = []
    for mix in (*MIXES, f"all kinds{EVEN}"):
        for order in ORDERS:
            found = outcomes(Setting(mix, 12, PLANNED[12], order), repeats)
            reached = [o.reached for o in found]
            rows.append(
                [
                    mix,
                    order,
                    quartiles([o.share for o in found]),
                    quartiles([1.0 if share is None else share for share in reached]),
                    f"{np.mean([o.verdicts_at(THIRD) for o in found]):.1f}",
                    f"{np.mean([o.verdicts_at(0.5) for o in found]):.1f}",
                    f"{np.mean([o.open_area for o in found]):.2f}",
                ]
            )
    return markdown(
        [
            "cells",
            "order",
            "share of hours at the end",
            "share from which all outcomes are the full grid's",
            "verdicts of 6 at a third of the hours",
            "at half",
            "open area",
        ],
        rows,
    )


def looks_table(repeats: int) -> str:
    """Other looks and another spending of alpha, with twelve planned seeds."""
    settings = [
        Setting(mix, 12, looks, spending=spending, minimum=min(5, looks[0]))
        for mix in ("all kinds", "clear crossings")
        for looks, spending in OTHER_LOOKS
    ]
    rows = []
    for setting in settings:
        found = outcomes(setting, repeats)
        told = ", ".join(map(str, setting.looks)) + (" (not allowed)" if setting.minimum < 5 else "")
        rows.append([setting.mix, told, setting.spending, quartiles([o.share for o in found]), *agreement(found)])
    return markdown(
        [
            "cells",
            "looks",
            "spending",
            "share of hours, median (quartiles)",
            *AGREEMENT,
        ],
        rows,
    )


def first_look_table(repeats: int) -> str:
    """How often five pairs settle a cell: as the first of three looks, and judged once."""
    rows = []
    for truth in dict.fromkeys(truth for mix in MIXES.values() for truth in mix):
        pairs = [differences(np.random.default_rng([SEED, i]), truth, 5) for i in range(repeats)]
        plans = (PLAN.model_copy(update={"looks": PLANNED[12]}), PLAN)
        settled = [np.mean([judge(difference_SG, plan).outcome != NONE for difference_SG in pairs]) for plan in plans]
        rows.append([truth.name, *(f"{share:.2f}" for share in settled)])
    return markdown(["truth", "settled at the first of the looks 5, 8, 12", "settled by five pairs, judged once"], rows)


def main() -> None:
    """Print the tables, each as soon as it is done."""
    parser = argparse.ArgumentParser(description="GPU-hours of studies in rounds beside the full grid.")
    parser.add_argument("--repeats", type=int, default=200, help="simulated studies per row")
    repeats = parser.parse_args().repeats
    for title, table in (
        ("Hours and outcomes", main_table),
        ("Order", order_table),
        ("Looks", looks_table),
        ("First look", first_look_table),
    ):
        print(f"## {title}\n\n{table(repeats)}\n", flush=True)


if __name__ == "__main__":
    main()
