"""How often a verdict on messy runs is wrong: tables of curves with faults of real runs and a known truth.

python -m benchmarks.calibration.messy [--repeats N] [--rows PATTERN] [--pairs 5 8 12] [--failing]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks.calibration.detectors import markdown
from benchmarks.simulations.messy_curves import DELTA, NEGLIGIBLE, Kind
from benchmarks.simulations.messy_kinds import KINDS
from crossover.analysis import analyse
from crossover.analysis.analysis_result import Verdict

PAIRS = (5, 8, 12)
ALLOWED, REACH = 0.05, 0.07
COVERED, NOMINAL = 0.91, 0.95
HEAD = (
    "kind of study", "pairs", "false winner", "95 %", "false crossover", "95 %", "false 'equivalent'", "power",
    "interval covers", "insufficient", "",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What was wrong with a verdict, and what was right."""

    outcome: str
    false_winner: bool = False
    false_crossover: bool = False
    false_same: bool = False
    found: bool = False
    covered: bool = False


def judge(verdict: Verdict, kind: Kind) -> Finding:
    """Hold a verdict against the truth.

    A winner is false unless it truly leads from the beginning of the verdict's late window to the end of the range
    (differences below a tenth of delta count as none), or if its interval lies inside ±delta. A crossover is false
    if there is none, or in the other direction. `equivalent` is false if the true mean in that stretch exceeds delta,
    or if both arms truly lead by more than delta somewhere in it. Where seeds are copies every firm word is false.

    Args:
        verdict: of the study.
        kind: how it was drawn.

    Returns:
        What is to be counted.
    """
    outcome = verdict.outcome
    firm = outcome != "insufficient evidence"
    if kind.refused:
        crossing = outcome == "crossover"
        return Finding(outcome, firm and not crossing and outcome != "equivalent", crossing, outcome == "equivalent")
    if not firm:
        return Finding(outcome)
    x_G, difference_G = kind.truth()
    begin = min(verdict.late.low * (1 - 1e-9) if verdict.late else np.inf, x_G[-1])
    late_G = difference_G[x_G >= begin]
    if outcome == "crossover":
        return _crossover(verdict, kind)
    if outcome == "equivalent":
        turns = bool((late_G > DELTA).any() and (late_G < -DELTA).any())
        return Finding(outcome, false_same=bool(abs(late_G.mean()) > DELTA * (1 + 1e-9)) or turns)
    lead_G = late_G if outcome == "baseline" else -late_G
    low, high = verdict.late.interval if verdict.late else (-np.inf, np.inf)
    small = -DELTA < low and high < DELTA
    return Finding(outcome, bool((lead_G < -NEGLIGIBLE).any() or lead_G.mean() <= NEGLIGIBLE or small))


def _crossover(verdict: Verdict, kind: Kind) -> Finding:
    truth, crossing = kind.crossing(), verdict.crossing
    if truth is None or crossing is None or crossing.direction != truth[1]:
        return Finding(verdict.outcome, false_crossover=True)
    slack = 1.002  # the truth is known up to its grid
    covered = (crossing.low or 0.0) <= truth[0] * slack and truth[0] / slack <= (crossing.high or np.inf)
    return Finding(verdict.outcome, found=True, covered=covered)


def findings(kind: Kind, pairs: int, repeats: int, seed: int = 20261128) -> list[Finding]:
    """Draw studies of a kind, analyse and judge them.

    Args:
        kind: of study.
        pairs: seed pairs of each.
        repeats: studies.
        seed: of the draws; the draws of a study do not depend on the other kinds.

    Returns:
        One finding a study.
    """
    plan = kind.plan()
    rngs = (np.random.default_rng([seed, pairs, i]) for i in range(repeats))
    return [judge(analyse(kind.table(rng, pairs), plan).headline, kind) for rng in rngs]


def wilson(hits: int, repeats: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % Wilson interval of a rate."""
    rate, scale = hits / repeats, 1 + z**2 / repeats
    middle = (rate + z**2 / (2 * repeats)) / scale
    half = z * np.sqrt(rate * (1 - rate) / repeats + z**2 / (4 * repeats**2)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def within_limits(hits: int, repeats: int) -> bool:
    """Whether a rate is at most 5 %, or its interval reaches no further than 7 %."""
    return hits / repeats <= ALLOWED or wilson(hits, repeats)[1] <= REACH


def covers_too_little(covered: int, crossings: int) -> bool:
    """Whether fewer than 91 % of the intervals of crossings hold the true place, and not by chance of 95 %."""
    return crossings > 0 and covered / crossings < COVERED and wilson(covered, crossings)[1] < NOMINAL


def row(kind: Kind, pairs: int, repeats: int) -> list[str]:
    """One row of the table; the last column is `ok`, or names what is beyond the limits."""
    found = findings(kind, pairs, repeats)
    counts = {
        "winner": sum(f.false_winner for f in found),
        "crossover": sum(f.false_crossover for f in found),
        "equivalent": sum(f.false_same for f in found),
    }
    rates = {name: f"{hits / repeats:.3f}" for name, hits in counts.items()}
    reach = {name: "{:.3f}–{:.3f}".format(*wilson(hits, repeats)) for name, hits in counts.items()}
    crossings = sum(f.found for f in found)
    true_crossing = kind.crossing() is not None and not kind.refused
    beyond = [f"FALSE {name}" for name, hits in counts.items() if not within_limits(hits, repeats)]
    if covers_too_little(sum(f.covered for f in found), crossings):
        beyond.append("COVERAGE")
    return [
        kind.name,
        str(pairs),
        rates["winner"],
        reach["winner"],
        rates["crossover"],
        reach["crossover"],
        rates["equivalent"],
        f"{crossings / repeats:.3f}" if true_crossing else "",
        f"{sum(f.covered for f in found) / crossings:.3f}" if crossings else "",
        f"{sum(f.outcome == 'insufficient evidence' for f in found) / repeats:.3f}",
        f"cannot be seen: {kind.unseen}" if beyond and kind.unseen else ", ".join(beyond) or "ok",
    ]


def rows(repeats: int, pattern: str = "", pairs: Sequence[int] = PAIRS) -> Iterator[list[str]]:
    """The rows whose kind a pattern finds, each as soon as it is measured."""
    chosen = [(i, n) for i, kind in enumerate(KINDS) if re.search(pattern, kind.name) for n in pairs]
    with ProcessPoolExecutor() as pool:
        yield from pool.map(_row, *zip(*chosen, strict=True), [repeats] * len(chosen))


def _row(kind: int, pairs: int, repeats: int) -> list[str]:
    """A row by the kind's index, since kinds hold functions that do not travel between processes."""
    return row(KINDS[kind], pairs, repeats)


def table(repeats: int) -> str:
    """All kinds at 5, 8 and 12 pairs, as Markdown."""
    return markdown(HEAD, list(rows(repeats)))


def main() -> None:
    """Print the rows, each as soon as it is done."""
    parser = argparse.ArgumentParser(description="Error rates of verdicts on messy runs.")
    parser.add_argument("--repeats", type=int, default=400, help="simulated studies per row")
    parser.add_argument("--rows", default="", help="only kinds that this regular expression finds")
    parser.add_argument("--pairs", type=int, nargs="+", default=list(PAIRS), help="seed pairs")
    parser.add_argument("--failing", action="store_true", help="print only rows beyond the limits")
    chosen = parser.parse_args()
    print(markdown(HEAD, []), flush=True)
    for line in rows(chosen.repeats, chosen.rows, chosen.pairs):
        if not chosen.failing or line[-1] != "ok":
            print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
