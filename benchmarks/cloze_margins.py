"""NLL of the true and of the other options over training, and their difference, the margin.

    python -m benchmarks.cloze_margins STUDY [--task domain-cloze] [--out docs/images/margins.svg]

STUDY is the folder of a finished study. Draws, for each arm, the mean over seeds of the NLL of the true option and of
the others (above) and of the margin (below) by epoch, and prints the same as a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import altair as alt
import vl_convert

from crossover.data.dataset import Dataset
from crossover.evaluation.evaluation_records import load_part
from crossover.files import write_text

PARTS = {"gold_nll": "true option", "distractor_nll": "other options", "margin": "margin"}
Values = dict[tuple[str, str, float], list[float]]


def main() -> int:
    """Read, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--task", default="domain-cloze")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    values = _values(options.study, options.task)
    if options.out:
        write_text(options.out, vl_convert.vegalite_to_svg(_chart(values, options.task).to_json()))
    print("| arm | epoch | NLL of the truth | NLL of the others | margin |")
    print("|---|---|---|---|---|")
    for arm, epoch in sorted({(arm, epoch) for arm, _, epoch in values}):
        parts = (f"{fmean(values[arm, part, epoch]):.3f}" for part in PARTS)
        print(f"| {arm} | {epoch:.1f} | {' | '.join(parts)} |")
    return 0


def _values(study: Path, task: str) -> Values:
    """Values by arm, part and epoch, one a seed, of the largest budget."""
    datasets = [Dataset.open(manifest.parent) for manifest in (study / "datasets").glob("*/manifest.json")]
    budget = max((b for d in datasets for b in d.manifest.budgets), key=lambda b: b.unique_tokens)
    pattern = f"u{budget.unique_tokens}-*/*/seed-*/*/evaluations/step-*/task-{task}-*.json"
    values: Values = defaultdict(list)
    for path in sorted((study / "runs").glob(pattern)):
        scores = load_part(path)
        if scores is None:
            raise SystemExit(f"{path} is not an evaluation; run the study again")
        by_name = {m.metric: m.value for m in scores.measurements}
        for part in PARTS:
            values[path.parts[-6], part, scores.tokens / budget.tokens].append(by_name[f"{task}_{part}"])
    if not values:
        raise SystemExit(f"{study} holds no evaluations of {task}")
    return values


def _chart(values: Values, task: str) -> alt.VConcatChart:
    rows = [
        {"arm": arm, "part": PARTS[part], "epoch": epoch, "nats": fmean(nats)}
        for (arm, part, epoch), nats in values.items()
    ]
    x = alt.X("epoch:Q", scale=alt.Scale(type="log", nice=False), title="epochs", axis=alt.Axis(tickCount=8))
    colour = alt.Color(
        "arm:N",
        legend=alt.Legend(symbolType="stroke"),
        scale=alt.Scale(range=["#b04a00", "#0062a3", "#007a5e", "#a3387f"]),
    )
    base = alt.Chart(alt.InlineData(rows)).mark_line().properties(width=640)
    dash = alt.StrokeDash("part:N", title="NLL of the", legend=alt.Legend(symbolType="stroke"))
    losses = base.transform_filter("datum.part != 'margin'").encode(
        x=x, y=alt.Y("nats:Q", title="nats a token", scale=alt.Scale(zero=False)), color=colour, strokeDash=dash
    )
    margin = base.transform_filter("datum.part == 'margin'").encode(
        x=x, y=alt.Y("nats:Q", title="margin (ΔNLL), nats a token"), color=colour
    )
    above = losses.properties(height=260, title=f"{task}: loss of the true and of the other options")
    return alt.vconcat(above, margin.properties(height=180, title="Their difference, the margin"))


if __name__ == "__main__":
    sys.exit(main())
