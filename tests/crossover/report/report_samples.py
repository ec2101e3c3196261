"""Realistic analyses made by hand, without `analyse()`: the report must stand on its contract alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossover.analysis.analysis_plan import AnalysisPlan, Axis, Comparison, MetricPlan
from crossover.analysis.analysis_result import (
    Analysis,
    ArmSummary,
    Band,
    Crossing,
    Figure,
    Outcome,
    SeedCurve,
    Verdict,
    Window,
)
from crossover.report.report_data import CellReport, CorpusFacts, Fact, Reference, ReportContext, RunRow, Sample

UNIQUE_TOKENS = 1_000_000
EPOCHS = np.geomspace(1, 200, 32)
PER_EPOCH: dict[Axis, float] = {"epochs": 1.0, "tokens": 1e6, "flops": 6.2e13, "seconds": 95.0}
LOSS = MetricPlan(name="validation_nll", direction="lower", delta=0.02, label="Validation loss", unit="nats/token")
CLOZE = MetricPlan(name="cloze_accuracy", direction="higher", delta=0.01, label="Cloze accuracy")


def plan(*, arms: int = 2) -> AnalysisPlan:
    del arms
    return AnalysisPlan(metrics=(LOSS, CLOZE), axes=("epochs", "flops", "seconds"))


def truth(arm: str, metric: str, epochs: NDArray[np.float64]) -> NDArray[np.float64]:
    """AR learns fast and overfits; the DLM learns slowly and goes on; the tuned arm lies between."""
    x = np.log(epochs)
    loss = {
        "ar": 4.15 - 0.48 * x + 0.0755 * x**2 + 0.012 * np.maximum(x - 3, 0) ** 3,
        "ar-dropout": 4.22 - 0.46 * x + 0.061 * x**2 + 0.005 * np.maximum(x - 3, 0) ** 3,
        "dlm": 4.62 - 0.38 * x + 0.0245 * x**2,
    }[arm]
    return np.asarray(loss if metric == LOSS.name else 0.9 - 0.17 * loss)


def curve(arm: str, metric: str, seed: int, axis: Axis, comparison: Comparison) -> SeedCurve:
    noise = np.random.default_rng([seed, len(arm), len(metric)])
    scale = 1.0 if metric == LOSS.name else 0.2
    values = truth(arm, metric, EPOCHS) + scale * (0.025 * noise.normal() + 0.012 * noise.normal(size=EPOCHS.size))
    if comparison == "best-so-far":
        better = np.minimum if metric == LOSS.name else np.maximum
        values = better.accumulate(values)
    jitter = 1 + 0.03 * noise.normal() if axis == "seconds" else 1.0
    return SeedCurve(
        arm=arm,
        seed=seed,
        x=tuple(EPOCHS * PER_EPOCH[axis] * jitter),
        value=tuple(values),
        stderr=tuple(np.full(EPOCHS.size, 0.004)),
    )


def band(x: NDArray[np.float64], rows: NDArray[np.float64]) -> Band:
    mean = rows.mean(axis=0)
    half = 4.1 * rows.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros_like(mean)
    return Band(x=tuple(x), mean=tuple(mean), low=tuple(mean - half), high=tuple(mean + half))


def figure(metric: str, axis: Axis, comparison: Comparison, *, arms: tuple[str, ...], seeds: int) -> Figure:
    runs = [curve(arm, metric, seed, axis, comparison) for arm in arms for seed in range(seeds)]
    x = EPOCHS * PER_EPOCH[axis]
    values = {arm: np.array([c.value for c in runs if c.arm == arm]) for arm in arms}
    paired = seeds > 1 and {"ar", "dlm"} <= set(arms)
    return Figure(
        metric=metric,
        axis=axis,
        comparison=comparison,
        seeds=tuple(runs),
        arms={arm: band(x, rows) for arm, rows in values.items()},
        difference=band(x, values["dlm"] - values["ar"]) if paired else None,
    )


def window(axis: Axis, low: float, high: float, mean: float) -> Window:
    scale = PER_EPOCH[axis]
    better = mean < 0
    return Window(
        low=low * scale,
        high=high * scale,
        mean=mean,
        interval=(mean - 0.041, mean + 0.041),
        p_candidate_better=0.0004 if better else 0.9996,
        p_baseline_better=0.9996 if better else 0.0004,
        per_seed=(mean - 0.02, mean, mean + 0.02, mean + 0.01, mean - 0.01),
    )


def crossing(axis: Axis, *, low: float | None = 51.02, high: float | None = 64.18) -> Crossing:
    scale = PER_EPOCH[axis]
    return Crossing(
        direction="baseline→candidate",
        at=57.31 * scale,
        low=None if low is None else low * scale,
        high=None if high is None else high * scale,
        bracket=(30 * scale, 120 * scale),
        per_seed=tuple(v * scale for v in (55.0, 57.5, 60.1, 58.2, 56.0)),
    )


def verdict(
    metric: str,
    axis: Axis = "epochs",
    comparison: Comparison = "matched",
    *,
    outcome: Outcome = "crossover",
    baseline: str = "ar",
    found: Crossing | None = None,
    pairs: int = 5,
    further_pairs: int | None = None,
) -> Verdict:
    tested = outcome != "insufficient evidence"
    sign = 1.0 if metric == LOSS.name else -0.2
    return Verdict(
        metric=metric,
        axis=axis,
        comparison=comparison,
        baseline=baseline,
        candidate="dlm",
        outcome=outcome,
        reason=f"early DLM − AR +0.481, late −0.312: the outcome is {outcome}.",
        pairs=pairs,
        p_crossover=0.00042 if tested else None,
        p_adjusted=0.00084 if tested else None,
        early=window(axis, 1, 8.33, 0.4813 * sign) if tested else None,
        late=window(axis, 90.4, 200, (-0.3123 if outcome in {"crossover", "candidate"} else 0.0521) * sign)
        if tested
        else None,
        crossing=found if outcome == "crossover" else None,
        further_pairs=further_pairs,
        sign_changes=1 if outcome == "crossover" else 0,
    )


def verdicts(*, found: bool = True) -> tuple[Verdict, ...]:
    rows: list[Verdict] = []
    for metric in (LOSS.name, CLOZE.name):
        for axis in ("epochs", "flops", "seconds"):
            spot = crossing(axis) if found else None
            rows.append(verdict(metric, axis, "matched", found=spot))
            rows.append(verdict(metric, axis, "best-so-far", outcome="baseline"))
    return tuple(rows)


def analysis(
    *,
    arms: tuple[str, ...] = ("ar", "dlm"),
    seeds: int = 5,
    rows: tuple[Verdict, ...] | None = None,
    figures: tuple[Figure, ...] | None = None,
) -> Analysis:
    the_plan = plan()
    if figures is None:
        figures = tuple(
            figure(metric.name, axis, comparison, arms=arms, seeds=seeds)
            for metric in the_plan.metrics
            for axis in the_plan.axes
            for comparison in the_plan.comparisons
        )
    summaries = tuple(
        ArmSummary(
            metric=metric.name,
            arm=arm,
            seeds=seeds,
            best_mean=float(truth(arm, metric.name, EPOCHS).min()),
            best_at_epoch=34.5,
            final_mean=float(truth(arm, metric.name, EPOCHS)[-1]),
            final_sd=0.0271,
        )
        for metric in the_plan.metrics
        for arm in arms
    )
    return Analysis(
        method="early-late-iut/1",
        plan=the_plan,
        seeds=tuple(range(seeds)),
        verdicts=verdicts() if rows is None else rows,
        figures=figures,
        summaries=summaries,
        notes=("DLM likelihoods are upper bounds (NELBO).",),
    )


def cell(name: str = "U1M-N10M", the_analysis: Analysis | None = None) -> CellReport:
    done = analysis() if the_analysis is None else the_analysis
    runs = tuple(
        RunRow(
            arm=arm,
            seed=seed,
            run_key=f"tiny-stories/{name}/{arm}/{seed}",
            steps=12_200,
            tokens=200_000_000,
            flops=1.24e16,
            seconds=19_000.0 + seed,
            checkpoint_digest=f"sha256:{seed}{'ab12' * 15}",
        )
        for arm in ("ar", "dlm")
        for seed in done.seeds
    )
    return CellReport(
        cell=name,
        unique_tokens=UNIQUE_TOKENS,
        model="tiny: 6 layers, width 320, 5 heads",
        parameters=10_240_000,
        analysis=done,
        runs=runs,
    )


def context(*cells: CellReport, samples: dict[str, tuple[Sample, ...]] | None = None) -> ReportContext:
    default = {
        "ar": (Sample(prompt="Once upon a time", completion=" there was a little fox who liked to count stars."),),
        "dlm": (Sample(prompt="Once upon a time", completion=" a fox and a bear went to the river to fish."),),
    }
    return ReportContext(
        study="tiny-stories-1m",
        study_digest="sha256:" + "5f3c" * 16,
        question="For one million tokens of children's stories, AR or diffusion?",
        cells=cells or (cell(),),
        corpus=CorpusFacts(
            source="s3://corpora/tinystories/v2",
            documents=5_120,
            bytes=4_312_004,
            train_tokens=1_000_000,
            validation_tokens=131_072,
            duplicates_dropped=212,
            digest="sha256:" + "9a7e" * 16,
        ),
        training=(Fact(label="Batch", value="64 × 256 tokens"), Fact(label="Learning rate", value="3e-4, constant")),
        references=(
            Reference(label="Held-out bytes by gzip", value="2.91 bits/byte"),
            Reference(
                label="Cloze accuracy by guessing", value="0.25", name="chance", level=0.25, metrics=(CLOZE.name,)
            ),
        ),
        created_at="2026-02-03T10:15:00+00:00",
        version="0.1.0",
        notes=("Seeds 0–4 share data order and initialisation within a pair.",),
        samples=default if samples is None else samples,
        sql="crossover registry query \"SELECT * FROM v_verdicts WHERE study = 'tiny-stories-1m'\"",
    )
