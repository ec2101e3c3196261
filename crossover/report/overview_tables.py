"""Tables of what several cells or arms say together, of tasks by item, and of how the runs went."""

from __future__ import annotations

from collections.abc import Sequence

from crossover.analysis.across.cross_cell_result import (
    CellFacts,
    Constant,
    Factor,
    LawFit,
    Movement,
    NextRun,
)
from crossover.analysis.analysis_plan import AnalysisPlan, Axis
from crossover.analysis.analysis_result import Analysis
from crossover.analysis.arm_labels import arm_label, outcome_label
from crossover.report import number_formats as fmt
from crossover.report import reference_levels, verdict_lines
from crossover.report.report_data import ReportContext
from crossover.report.report_tables import Table

_NONE = "–"


def items(context: ReportContext, analysis: Analysis) -> Table:
    """The tasks by item: each family's score, chance, the paired difference, p after Holm."""
    plan = analysis.plan
    rows = tuple(
        (
            t.task,
            t.score,
            fmt.with_error(t.baseline_mean, t.baseline_stderr, t.pairs),
            fmt.with_error(t.candidate_mean, t.candidate_stderr, t.pairs),
            reference_levels.words(context, f"{t.task}_{t.score}").removeprefix("chance ") or _NONE,
            verdict_lines.mean_words(t.difference, t.interval)
            if t.pairs > 1
            else f"{fmt.number(t.difference, sign=True)}, no interval",
            "not tested" if t.p_adjusted is None else fmt.p_value(t.p_adjusted),
            str(t.pairs),
            f"{t.items:,}",
            f"{t.clusters:,}",
        )
        for t in analysis.items
    )
    baseline, candidate = arm_label(plan.baseline), arm_label(plan.candidate)
    pair = f"{candidate} − {baseline} ({fmt.percent(plan.alpha)} interval)"
    head = (
        "Task",
        "Score",
        f"{baseline} ± SE",
        f"{candidate} ± SE",
        "Chance",
        pair,
        "p (Holm)",
        "Seed pairs",
        "Items",
        "Clusters",
    )
    return Table("Tasks by item, at the last checkpoint; higher is better", head, rows, figures_from=2)


def health(context: ReportContext) -> Table:
    """How each run went, of all cells."""
    rows = tuple(
        (
            r.run_key,
            str(h.attempts - 1),
            _number(h.tokens_per_second, fmt.count),
            _number(h.mfu, lambda v: f"{100 * v:.1f} %"),
            _number(h.gradient_norm, fmt.number),
            _number(h.largest_gradient_norm, fmt.number),
            _number(h.clipped_steps, lambda v: f"{100 * v:.1f} %"),
            str(h.loss_spikes),
            str(h.not_finite),
        )
        for cell in context.cells
        for r in cell.runs
        if (h := r.health) is not None
    )
    head = (
        "Run",
        "Restarts",
        "Tokens a second",
        "MFU",
        "Gradient norm",
        "Largest",
        "Clipped steps",
        "Loss spikes",
        "Losses not finite",
    )
    return Table("How the runs went: medians over training; a spike stands far above its neighbours", head, rows)


def _number(value: float | None, words: object) -> str:
    return _NONE if value is None or not callable(words) else str(words(value))


def movement_cells(movement: Movement, plan: AnalysisPlan) -> Table:
    """The crossing of every cell, and the forecasts beyond those that were run."""
    level = fmt.percent(plan.alpha)
    rows = [
        (
            c.facts.cell,
            fmt.count(c.facts.unique_tokens),
            fmt.count(c.facts.parameters),
            "run",
            _NONE if c.at is None else fmt.axis_number(movement.axis, c.at),
            _where(c.at, c.low, c.high, c.beyond, c.before, movement.axis),
            outcome_label(c.outcome, plan.baseline, plan.candidate),
        )
        for c in movement.cells
    ]
    rows += [
        (
            f"forecast{fmt.tier(f.facts.quality)}",
            fmt.count(f.facts.unique_tokens),
            fmt.count(f.facts.parameters),
            "extrapolated" if f.extrapolated else "between runs",
            fmt.axis_number(movement.axis, f.at),
            fmt.axis_interval(movement.axis, f.low, f.high),
            _NONE,
        )
        for f in movement.forecasts
    ]
    head = (
        "Cell",
        "Unique tokens",
        "Parameters",
        "Known from",
        "Crosses at",
        f"{level} interval (of a forecast: prediction)",
        "Verdict",
    )
    caption = f"The crossing of each cell, {fmt.comparison_words(movement.comparison, movement.axis)}"
    return Table(caption, head, tuple(rows), figures_from=1)


def _where(
    at: float | None, low: float | None, high: float | None, beyond: float | None, before: float | None, axis: Axis
) -> str:
    if at is not None:
        return fmt.axis_interval(axis, low, high)
    if beyond is not None:
        return f"beyond {fmt.axis_number(axis, beyond)}, if at all"
    return _NONE if before is None else f"before {fmt.axis_number(axis, before)}, if at all"


def slopes(movements: Sequence[Movement], plan: AnalysisPlan) -> Table:
    """How each metric's crossing moves with what a cell is."""
    rows = tuple(
        (
            fmt.metric_plan(plan, m.metric).title,
            fmt.axis_word(m.axis),
            fmt.comparison_words(m.comparison, m.axis),
            f"{s.predictor}{fmt.tier(s.quality)}",
            f"{s.estimate:+.2f}".replace("-", "−"),
            f"{s.low:+.2f} … {s.high:+.2f}".replace("-", "−"),
            fmt.p_value(s.p),
        )
        for m in movements
        for s in m.slopes
    )
    level = fmt.percent(plan.alpha)
    head = ("Metric", "Axis", "Comparison", "With", "Slope of the log crossing", f"{level} interval", "p")
    return Table("Slopes of the crossing over cells", head, rows, figures_from=4)


def factors(results: Sequence[Factor], plan: AnalysisPlan) -> Table:
    """How much of the gap between the families each factor closes."""
    rows = tuple(
        (
            f.name,
            fmt.metric_plan(plan, f.metric).title,
            f.cell or _NONE,
            arm_label(f.arm) or _NONE,
            _NONE if f.gap is None else verdict_lines.mean_words(f.gap, f.gap_interval),
            _NONE if f.closed is None else _share(f.closed, f.closed_interval),
            str(f.pairs),
        )
        for f in results
    )
    pair = f"{arm_label(plan.candidate)} − {arm_label(plan.baseline)}"
    head = ("Factor", "Metric", "Cell", "Ablation arm", f"{pair}, late window", "Share closed", "Seed pairs")
    level = fmt.percent(plan.alpha)
    return Table(f"Share of the gap that each factor closes, with {level} intervals", head, rows, figures_from=4)


def _share(closed: float, interval: tuple[float | None, float | None] | None) -> str:
    text = _percent(closed)
    if interval is None:
        return text
    low, high = ("unbounded" if end is None else _percent(end) for end in interval)
    return f"{text} ({low} … {high})"


def _percent(share: float) -> str:
    return f"{round(100 * share)} %".replace("-", "−")


def laws(fits: Sequence[LawFit], alpha: float) -> Table:
    """The laws fitted to each arm."""
    rows = tuple(
        (
            f"{arm_label(fit.arm)}{fmt.tier(fit.quality)}",
            fit.form + (" (best)" if fit.best else ""),
            ", ".join(_constant(c) for c in fit.constants) or _NONE,
            str(fit.runs),
            str(fit.points),
            _number(fit.error, lambda v: f"{v:.4f}"),
            _number(fit.held_out_error, lambda v: f"{v:.4f}"),
        )
        for fit in fits
    )
    head = (
        "Arm",
        "Law",
        f"Constants ({fmt.percent(alpha)} interval)",
        "Runs",
        "Points",
        "Error of log loss",
        "Held out",
    )
    return Table("Laws of the data-constrained regime, fitted to these runs", head, rows, figures_from=3)


def _constant(constant: Constant) -> str:
    value = f"{constant.name} = {constant.value:.3g}"
    if constant.low is None or constant.high is None:
        return value
    return f"{value} ({constant.low:.3g} – {constant.high:.3g})"


def next_runs(runs: Sequence[NextRun]) -> Table:
    """The runs to start next."""
    rows = tuple((r.cell, arm_label(r.arm), str(r.seed), f"{r.cost:.3g}", r.reason) for r in runs)
    return Table("Runs to start next", ("Cell", "Arm", "Seed", "Cost", "Why"), rows, figures_from=2, prose=4)


def model_words(facts: CellFacts) -> str:
    """A model by its size, and the tier of its data."""
    return f"{fmt.count(facts.parameters)} parameters{' (sparse)' * facts.sparse}{fmt.tier(facts.quality)}"
